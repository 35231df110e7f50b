// Functions of a margin: surrogate.py and cost.py, in the order of native.py's lists.
#pragma once
#include "call.h"
#include "lanes.h"

enum Surrogates { TRIANGLE, RECTANGULAR, SIGMOID, SUPERSPIKE, ARCTAN, GAUSSIAN, EXPONENTIAL, STRAIGHT, RECTIFIED };
template <class S> INLINE Lanes<S> surrogate(const Call &call, Lanes<S> v) {
    const S a = call.surrogate_at[0], b = call.surrogate_at[1], pi = M_PI;
    Lanes<S> x, y;
    const S edge = tanh(1.5);
    switch (SURROGATE) {
        case TRIANGLE: return at_least_0(a - absolute(v)) * (1 / (a * a));
        case RECTANGULAR: return above_0(a / 2 - absolute(v)) * (1 / a);
        case SIGMOID: x = S(1) / (S(1) + exponential(-a * v)); return a * x * (S(1) - x);
        case SUPERSPIKE: x = S(1) + a * absolute(v); return S(1) / (x * x);
        case ARCTAN: x = (pi / 2 * a) * v; return a / 2 / (S(1) + x * x);
        case GAUSSIAN: x = (v - b) * (1 / a); return exponential(S(-.5) * x * x) * (1 / (S(sqrt(2 * pi)) * a));
        case EXPONENTIAL: return a * exponential(-b * absolute(v));
        case RECTIFIED: // a of the triangle, b the threshold; x is tanh(3 |v| / 2b), y the cube root further out
            x = exponential(S(-3) / b * absolute(v)); x = (S(1) - x) / (S(1) + x);
            y = S(0); // further out than the threshold a triangle that is no wider has ended
            if (a > b) y = (absolute(v) * (1 / (2 * b)) + S(.5)).one_by_one([](S w) { return S(w > 1 ? cbrt(w) : 0); });
            return at_least_0(a - 2 * b * where_0(y, x * (1 / (2 * edge)), y - S(.5))) * (1 / (a * a)) *
                   where_0(y, S(1.5) / edge * (S(1) - x * x), S(1) / (S(3) * y * y));
        default: return S(1);
    }
}

enum Costs { NO_COST, HINGE, QUANTISATION }; // HINGE: width, power. QUANTISATION: threshold, level, power
template <class S> INLINE Lanes<S> cost(const Call &call, Lanes<S> v) {
    const S a = call.cost_at[0], b = call.cost_at[1], power = call.cost_at[2];
    if (COST == HINGE) {
        Lanes<S> near = at_least_0(a - absolute(v));
        return b == 2 ? near * near : near;
    }
    Lanes<S> error = absolute(v + a - b * fired(v));
    if (power == 1) return error;
    return power == 2 ? error * error : error.one_by_one([power](S x) { return S(pow(x, power)); });
}
template <class S> INLINE Lanes<S> cost_slope(const Call &call, Lanes<S> v) { // at a kink it is torch's
    const S a = call.cost_at[0], b = call.cost_at[1], power = call.cost_at[2];
    if (COST == HINGE) {
        Lanes<S> near = a - absolute(v), down = S(0) - fired(near) * sign(v);
        return b == 2 ? down * (S(2) * near) : down;
    }
    Lanes<S> error = v + a - b * fired(v), size = absolute(error);
    if (power == 1) return sign(error);
    if (power == 2) return S(2) * error;
    return sign(error) * size.one_by_one([power](S x) { return S(power * pow(x, power - 1)); });
}
