// What a call is told.
#pragma once
#include <stdint.h>

struct Call { // as in native.py, field by field; a null pointer is what is not there
    int64_t K, N, H, W, C, noise_stride, threads;
    // through: 0 where the reset is detached, else 1; reset_by: where SOFT is 2
    double decay, threshold, through, reset_by, surrogate_at[2], cost_at[3], noise_std, momentum, relax, omega, rga_slope;
    const void *values, *scale, *shift, *decays, *gains, *sharpness, *adaptation, *setpoint, *mean, *spread;
    const void *const *noise; // a tape for each step
    void *spikes, *margin, *total, *squares, *cost_total, *new_mean, *new_spread, *new_sharpness, *rates;
    const void *g_spikes, *g_total, *g_squares, *g_cost, *middle;
    void *g_values, *sum, *sum_with_values, *g_decays, *g_gains, *g_sharpness, *g_adaptation;
};
enum By { NOTHING, CHANNEL, NEURON, ELEMENT }; // [T, C], [T, P, C], [T, N, P, C]
enum Noise { SILENT, DECISION, CARRIED };
enum Rate { NO_RATE, MEAN_SLOPE, EVER_FIRED, GAIN_OF_MEAN };
