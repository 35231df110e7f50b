// A spiking site on a CPU: the functions of ops/drive.py and ops/reference.py, each one loop over blocks of neurons, in it one over time.
//
// What shapes the code is a WORD, a constant that the compiler is given (-DSOFT=0 ...): one INSTANCE for each function,
// dtype and set of words, half a second each. Numbers (threshold, decay, widths) and sizes but STEPS are fields of the Call.
//
//   SOFT          reset by the threshold (2: by a number),  MOMENTS   sums of v and v^2 are given, or their cotangents
//                 else to zero
//   POOLED        over 2x2                                  COST      of v is summed: which, see enum Costs
//   SCALED        batch norm's affine map comes first       MARGINS   1: v is given, 2: with its noise
//   SHARED        one current for all steps                 AFTER_RESET   what is summed is the carried potential's v
//   NOISY         see enum Noise                            SPIKING   spikes are given
//   DECAY_BY, GAIN_BY, SHARPNESS_BY, MOVING_BY   how what a site has of its own is broadcast, see enum By;
//                 MOVING: the threshold (HoSNN)             FOLLOWS   ASSG: a mean and a spread of |v| move on
//   SURROGATE     which, see enum Surrogates                RATE      what gradients by rate ask for, see enum Rate
//   LEARNS        all gradients are given, else that by the values alone
//
// values [K, N, P, C], channels last. A BLOCK is 32 neighbouring neurons of a sample, whose state stays in registers
// while time runs. Where spikes are pooled, a block of the forward is 8 channels at the four corners of a 2x2. What
// there is of each channel lies in PATTERNS: it is repeated, so that a block reads it like any other tensor.
//
// Nothing is contracted or reordered, a block holds 32 neurons whatever the vector units, and sums are taken chunk by
// chunk, the chunks by sizes alone: no result depends on vector units or on the number of threads.
#include "blocks.h"
#include "margins.h"

#define PRAGMA(text) _Pragma(#text)
#define UNROLLED_BY(n) PRAGMA(GCC unroll n)
#define OVER_TIME UNROLLED_BY(UNROLL)
constexpr bool MANY_STEPS = STEPS > 8;

// ---- the recurrence of a block, step by step

template <class In, class S = typename Types<In>::Wide> struct Neurons {
    typedef Lanes<S> L;
    const Call &call;
    const Block<S> &q;
    const Given<S> &given;
    const int64_t per_sample;
    L scale, shift, raw, x, driven, u, level, margin, v, s, m; // current, potential, threshold, margin, and with noise; spike, carried
    INLINE Neurons(const Call &call, const Block<S> &q, const Given<S> &given)
        : call(call), q(q), given(given), per_sample(q.layout.P * q.layout.C), level(S(call.threshold)), m(0) {
        if (SCALED) scale = q.pattern(given.scale), shift = q.pattern(given.shift);
    }
    INLINE int64_t of(int64_t t) const { return (t * call.N + q.n) * per_sample; }
    // All steps' values before anything is stored: a load that follows a store to the same place of another page waits
    // for it, and steps often lie whole pages apart.
    INLINE void read(L *raws) const {
        OVER_TIME for (int64_t t = 0; t < (SHARED ? 1 : STEPS); ++t) {
            const In *from = (const In *)call.values + of(t);
            raws[t] = q.take(from);
            if (MANY_STEPS) q.prefetch(from);
        }
    }
    INLINE void step(int64_t t, const L *raws) {
        if (!SHARED || t == 0) {
            raw = raws[t];
            x = SCALED ? raw * scale + shift : raw;
        }
        driven = GAIN_BY ? q.by(GAIN_BY, given.gains, t) * x : x;
        u = (DECAY_BY ? q.by(DECAY_BY, given.decays, t) * m : S(call.decay) * m) + driven;
        L noise;
        if (NOISY) {
            noise = S(call.noise_std) * q.take((const typename Types<In>::Tape *)call.noise[t] + q.n * call.noise_stride);
            if (NOISY == CARRIED) u = u + noise;
        }
        if (MOVING_BY) level = level + q.by(MOVING_BY, given.adaptation, t) * (u - q.by(MOVING_BY, given.setpoint, t));
        margin = u - level;
        v = NOISY == DECISION ? margin + noise : margin;
        s = fired(v);
        m = after(u, s, level);
    }
    INLINE L taken_off(const L &level) const { return SOFT == 2 ? L(S(call.reset_by)) : level; }
    INLINE L after(const L &u, const L &s, const L &level) const { return SOFT ? u - taken_off(level) * s : (S(1) - s) * u; }
    INLINE L slope(int64_t t, const L &v) const { // without the sharpness in front
        return SHARPNESS_BY ? surrogate(call, q.by(SHARPNESS_BY, given.sharpness, t) * v) : surrogate(call, v);
    }
};

template <class In> void forward(const Call &call) {
    typedef typename Types<In>::Wide S;
    typedef Lanes<S> L;
    const bool corners = POOLED;
    const Layout<S> layout(call, corners);
    const int64_t T = STEPS, per_out = layout.P * layout.C / (corners ? 4 : 1), period = layout.period;
    Sums<S> total(MOMENTS, layout, T), squares(MOMENTS, layout, T), cost_total(COST, layout, T);
    const Given<S> given(call, layout);
    in_chunks(call, layout, layout.N * layout.runs * layout.blocks, [&](int64_t chunk, int64_t from, int64_t to) {
        Room<S> room((2 * !!MOMENTS + !!COST) * T * period + T * BLOCK);
        L *raws = (L *)room.take(T * BLOCK);
        S *first = room.take(!!MOMENTS * T * period), *second = room.take(!!MOMENTS * T * period), *third = room.take(!!COST * T * period);
        Block<S> q(layout, corners);
        for (q.at_number(from); from < to; ++from, q.next()) {
            Neurons<In> neurons(call, q, given);
            L rate(0), tau(0);
            neurons.read(raws);
            OVER_TIME for (int64_t t = 0; t < T; ++t) {
                neurons.step(t, raws);
                if (SPIKING && MANY_STEPS && !corners) q.prefetch((In *)call.spikes + neurons.of(t));
                if (SPIKING) q.give_spikes(neurons.s, (In *)call.spikes + (t * call.N + q.n) * per_out);
                if (MARGINS) q.give(MARGINS == 2 ? neurons.v : neurons.margin, (S *)call.margin + neurons.of(t));
                if (MOMENTS || COST) {
                    L seen = AFTER_RESET ? neurons.m - neurons.level : neurons.margin;
                    if (MOMENTS) q.add(seen, first + t * period), q.add(seen * seen, second + t * period);
                    if (COST) q.add(cost(call, seen), third + t * period);
                }
                if (FOLLOWS) {
                    const S b = call.momentum;
                    L far = absolute(neurons.v), mean = b * q.take((const S *)call.mean + neurons.of(t)) + (1 - b) * far;
                    L spread = b * q.take((const S *)call.spread + neurons.of(t)) + (1 - b) * absolute(far - mean);
                    q.give(mean, (S *)call.new_mean + neurons.of(t)), q.give(spread, (S *)call.new_spread + neurons.of(t));
                    q.give(S(call.omega) / (mean + S(call.relax) * spread + S(1e-4)), (S *)call.new_sharpness + neurons.of(t));
                }
                if (RATE == GAIN_OF_MEAN) {
                    rate = rate + neurons.driven;
                    if (DECAY_BY) tau = tau + q.by(DECAY_BY, given.decays, t);
                }
                if (RATE == EVER_FIRED) rate = larger(rate, neurons.s);
                if (RATE == MEAN_SLOPE) {
                    L slope = neurons.slope(t, neurons.v);
                    rate = rate + (SHARPNESS_BY ? q.by(SHARPNESS_BY, given.sharpness, t) * slope : slope);
                }
            }
            if (RATE) {
                if (RATE == MEAN_SLOPE) rate = rate / S(T);
                if (RATE == GAIN_OF_MEAN) { // drive.py's gain_at_mean
                    const S g = call.rga_slope, threshold = call.threshold;
                    const L mean = rate / S(T) / threshold, kept = DECAY_BY ? tau / S(T) : L(S(call.decay)), leaked = S(1) - kept;
                    const L above = fired(mean - leaked) * fired(S(2) - mean) * (S(1) - g * leaked) / (S(1) + kept);
                    rate = (above + fired(mean) * fired(leaked - mean) * g) / threshold;
                }
                q.give(SCALED ? rate * neurons.scale : rate, (S *)call.rates + q.n * neurons.per_sample);
            }
        }
        total.add(chunk, layout, first), squares.add(chunk, layout, second), cost_total.add(chunk, layout, third);
    });
    total.close(call.total), squares.close(call.squares), cost_total.close(call.cost_total);
}

template <class S> struct Learned { // the gradient by a parameter [T, C] (sums) or [T, P, C], summed over a block's samples
    const int by;
    void *const to;
    Sums<S> sums;
    Learned(int by, void *to, const Layout<S> &layout, int64_t T) : by(by), to(to), sums(by == CHANNEL, layout, T) {}
    INLINE void add(const Block<S> &q, const Lanes<S> &x, int64_t t, S *scratch) const {
        if (by == CHANNEL) return q.add(x, scratch + t * q.layout.period);
        Lanes<S> &held = ((Lanes<S> *)scratch)[t];
        held = held + x;
    }
    int64_t scratch(const Layout<S> &layout, int64_t T) const { return by == CHANNEL ? T * layout.period : by == NEURON ? T * BLOCK : 0; }
    void begin(int64_t T, S *scratch) const { if (by == NEURON) memset(scratch, 0, T * BLOCK * sizeof(S)); }
    void end(const Block<S> &q, int64_t T, const S *scratch) const {
        if (by == NEURON) EACH(t, T) q.give(((const Lanes<S> *)scratch)[t], (S *)to + t * q.layout.P * q.layout.C);
    }
};

// The potentials are recomputed, and then it goes back through time, a block at a time.
template <class In> void backward(const Call &call) {
    typedef typename Types<In>::Wide S;
    typedef Lanes<S> L;
    const Layout<S> layout(call, false);
    const int64_t T = STEPS, N = call.N, per_out = layout.P * layout.C / (POOLED ? 4 : 1), period = layout.period;
    const int decay_learns = LEARNS ? DECAY_BY : 0, gain_learns = LEARNS ? GAIN_BY : 0;
    const int sharpness_learns = LEARNS ? SHARPNESS_BY : 0, moving_learns = LEARNS ? MOVING_BY : 0;
    // A sum over samples belongs to whoever has the position: then samples are the inner loop.
    const bool inside = decay_learns == NEURON || gain_learns == NEURON || moving_learns == NEURON;
    int32_t *pooled = nullptr;
    if (POOLED) {
        pooled = (int32_t *)malloc((layout.P * layout.C / L::WIDE + 1) * sizeof(int32_t));
        if (layout.C % L::WIDE == 0) {
            int32_t *to = pooled;
            EACH(y, call.H) EACH(x, call.W) for (int64_t c = 0; c < layout.C; c += L::WIDE) *to++ = (y / 2 * layout.columns + x / 2) * layout.C + c;
        }
    }
    Sums<S> sum(LEARNS, layout, 1), with_values(LEARNS, layout, 1);
    Learned<S> decays(decay_learns, call.g_decays, layout, T), gains(gain_learns, call.g_gains, layout, T);
    Learned<S> sharps(sharpness_learns, call.g_sharpness, layout, T), adaptations(moving_learns, call.g_adaptation, layout, T);
    const Given<S> given(call, layout);
    const S through = call.through, threshold = call.threshold;
    const bool noisy = NOISY == DECISION;
    const int64_t a_sample = layout.runs * layout.blocks;
    in_chunks(call, layout, inside ? a_sample : N * a_sample, [&](int64_t chunk, int64_t from, int64_t to) {
        Room<S> room((2 + 2 * T * !!MOMENTS + T * !!COST) * period + 6 * T * BLOCK + decays.scratch(layout, T) + gains.scratch(layout, T)
                     + sharps.scratch(layout, T) + adaptations.scratch(layout, T));
        auto lanes = [&] { return (L *)room.take(T * BLOCK); };
        L *us = lanes(), *vs = lanes(), *raws = lanes(), *levels = lanes(), *ms = lanes(), *gs = lanes();
        S *by_decay = room.take(decays.scratch(layout, T)), *by_gain = room.take(gains.scratch(layout, T));
        S *by_sharpness = room.take(sharps.scratch(layout, T)), *by_adaptation = room.take(adaptations.scratch(layout, T));
        S *sums = room.take(period), *sums_with = room.take(period);
        const S *g_total = room.pattern(layout, call.g_total, T * !!MOMENTS), *g_squares = room.pattern(layout, call.g_squares, T * !!MOMENTS);
        const S *g_cost = room.pattern(layout, call.g_cost, T * !!COST);
        Block<S> q(layout, false);
        auto one_block = [&]() __attribute__((always_inline)) {
            Neurons<In> neurons(call, q, given);
            L middle;
            if (LEARNS) middle = q.pattern(given.middle);
            neurons.read(raws);
            OVER_TIME for (int64_t t = 0; t < T; ++t) {
                neurons.step(t, raws);
                us[t] = neurons.u;
                if (noisy) vs[t] = neurons.v;
                if (MOVING_BY) levels[t] = neurons.level;
                if (decay_learns) ms[t] = neurons.m;
                const In *cotangents = (const In *)call.g_spikes + (t * N + q.n) * per_out;
                if (MANY_STEPS) q.prefetch((In *)call.g_values + neurons.of(t));
                if (MANY_STEPS && !POOLED) q.prefetch(cotangents);
                gs[t] = POOLED ? q.take_spread(cotangents, pooled) : q.take(cotangents);
            }
            L into(0), dlevel(0), dx(0); // the gradients by what is carried, by the threshold, and by a shared current
            OVER_TIME for (int64_t t = T - 1; t >= 0; --t) {
                const L u = us[t], level = MOVING_BY ? levels[t] : L(threshold), margin = u - level, v = noisy ? vs[t] : margin, s = fired(v);
                L extra; // the sums' cotangents, by what they saw
                if (MOMENTS || COST) {
                    L seen = AFTER_RESET ? neurons.after(u, s, level) - level : margin;
                    extra = L(0);
                    if (MOMENTS) extra = q.pattern(g_total + t * period) + S(2) * seen * q.pattern(g_squares + t * period);
                    if (COST) extra = extra + cost_slope(call, seen) * q.pattern(g_cost + t * period);
                    if (AFTER_RESET) into = into + extra;
                }
                L ds = gs[t] - through * (SOFT ? neurons.taken_off(level) : u) * into, h = neurons.slope(t, v);
                if (sharpness_learns) sharps.add(q, ds * v * h, t, by_sharpness);
                if (SHARPNESS_BY) h = q.by(SHARPNESS_BY, given.sharpness, t) * h;
                L dv = ds * h, du = (SOFT ? into : into * (S(1) - s)) + dv;
                if ((MOMENTS || COST) && !AFTER_RESET) du = du + extra;
                if (MOVING_BY) {
                    dlevel = dlevel - dv;
                    if (SOFT == 1) dlevel = dlevel - s * into;
                    if (MOMENTS || COST) dlevel = dlevel - extra;
                    if (moving_learns) adaptations.add(q, dlevel * (u - q.by(MOVING_BY, given.setpoint, t)), t, by_adaptation);
                    du = du + q.by(MOVING_BY, given.adaptation, t) * dlevel;
                }
                if (decay_learns && t) decays.add(q, du * ms[t - 1], t, by_decay);
                into = DECAY_BY ? q.by(DECAY_BY, given.decays, t) * du : S(call.decay) * du;
                if (gain_learns) gains.add(q, du * (SCALED ? raws[SHARED ? 0 : t] * neurons.scale + neurons.shift : raws[SHARED ? 0 : t]), t, by_gain);
                if (GAIN_BY) du = du * q.by(GAIN_BY, given.gains, t);
                if (SHARED) {
                    dx = dx + du;
                    if (t) continue;
                    du = dx;
                }
                if (LEARNS) q.add(du, sums), q.add(du * (raws[t] - middle), sums_with);
                else if (SCALED) du = du * neurons.scale;
                q.give(du, (In *)call.g_values + neurons.of(t));
            }
        };
        if (!inside)
            for (q.at_number(from); from < to; ++from, q.next()) one_block();
        else
            for (; from < to; ++from) {
                decays.begin(T, by_decay), gains.begin(T, by_gain), adaptations.begin(T, by_adaptation);
                q.at_number(from);
                EACH(n, N) { q.n = n; one_block(); }
                decays.end(q, T, by_decay), gains.end(q, T, by_gain), adaptations.end(q, T, by_adaptation);
            }
        sum.add(chunk, layout, sums), with_values.add(chunk, layout, sums_with);
        decays.sums.add(chunk, layout, by_decay), gains.sums.add(chunk, layout, by_gain);
        sharps.sums.add(chunk, layout, by_sharpness), adaptations.sums.add(chunk, layout, by_adaptation);
    });
    sum.close(call.sum), with_values.close(call.sum_with_values);
    decays.sums.close(call.g_decays), gains.sums.close(call.g_gains);
    sharps.sums.close(call.g_sharpness), adaptations.sums.close(call.g_adaptation);
    free(pooled);
}

// ---- batch norm in training: values [rows, C], as N = H = 1 and W = rows

template <class In> void batch_sums(const Call &call) { // of differences from ``middle``, a value of each channel
    typedef typename Types<In>::Wide S;
    const Layout<S> layout(call, false);
    Sums<S> one(true, layout, 1), two(true, layout, 1);
    Room<S> room(layout.period);
    const S *middle = room.pattern(layout, call.middle);
    in_chunks(call, layout, layout.blocks * layout.runs, [&](int64_t chunk, int64_t from, int64_t to) {
        Room<S> sums(2 * layout.period);
        S *a = sums.take(layout.period), *b = sums.take(layout.period);
        Block<S> q(layout, false);
        for (q.at_number(from); from < to; ++from, q.next()) {
            Lanes<S> far = q.take((const In *)call.values) - q.pattern(middle);
            q.add(far, a), q.add(far * far, b);
        }
        one.add(chunk, layout, a), two.add(chunk, layout, b);
    });
    one.close(call.sum), two.close(call.sum_with_values);
}

template <class In> void add_affine(const Call &call) { // g_values = scale * g_values + shift + middle * values
    typedef typename Types<In>::Wide S;
    const Layout<S> layout(call, false);
    Room<S> room(3 * layout.period);
    const S *scale = room.pattern(layout, call.scale), *shift = room.pattern(layout, call.shift), *slope = room.pattern(layout, call.middle);
    in_chunks(call, layout, layout.blocks * layout.runs, [&](int64_t, int64_t from, int64_t to) {
        Block<S> q(layout, false);
        for (q.at_number(from); from < to; ++from, q.next())
            q.give(q.pattern(scale) * q.take((const In *)call.g_values) + q.pattern(shift) + q.pattern(slope) * q.take((const In *)call.values), (In *)call.g_values);
    });
}

extern "C" void run(const Call *call) { INSTANCE<IN>(*call); } // -DINSTANCE=forward -DIN=float
extern "C" const int64_t size_of_call = sizeof(Call);
