// The neurons of a block as vectors: how they come from memory and go there, and what is done with them.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE inline __attribute__((always_inline))
#define RARE __attribute__((noinline, cold))
#define EACH(i, n) for (int i = 0; i < (int)(n); ++i)
constexpr int BLOCK = 32; // neurons

struct bf16 { uint16_t bits; };
template <class S> struct Vectors;
template <> struct Vectors<float> {
    typedef float V __attribute__((vector_size(BYTES)));
    typedef int32_t I __attribute__((vector_size(BYTES)));
};
template <> struct Vectors<double> {
    typedef double V __attribute__((vector_size(BYTES)));
    typedef int64_t I __attribute__((vector_size(BYTES)));
};
typedef Vectors<float>::V VF;
typedef Vectors<double>::V VD;
typedef uint32_t VU __attribute__((vector_size(BYTES)));
typedef uint16_t VH __attribute__((vector_size(BYTES / 2)));
typedef float HALF __attribute__((vector_size(BYTES / 2)));
template <class In> struct Types { typedef float Wide, Tape; };
template <> struct Types<bf16> { typedef float Wide; typedef bf16 Tape; };
template <> struct Types<double> { typedef double Wide; typedef float Tape; };

// Where they lie in memory no one promises an alignment. (By memcpy they would be bytes, which may be anything's: all that
// a loop has read would be read again after each store.)
typedef float UF __attribute__((vector_size(BYTES), aligned(4)));
typedef double UD __attribute__((vector_size(BYTES), aligned(8)));
typedef uint16_t UH __attribute__((vector_size(BYTES / 2), aligned(2)));
typedef float UHALF __attribute__((vector_size(BYTES / 2), aligned(4)));

template <class A, class B> static INLINE A same_bits(B b) { A a; memcpy(&a, &b, sizeof a); return a; }
static INLINE void widen(const bf16 *from, VF &to) { to = same_bits<VF>(__builtin_convertvector((VH)*(const UH *)from, VU) << 16); }
static INLINE void widen(const float *from, VF &to) { to = *(const UF *)from; }
static INLINE void widen(const double *from, VD &to) { to = *(const UD *)from; }
static INLINE void widen(const float *from, VD &to) { to = __builtin_convertvector((HALF)*(const UHALF *)from, VD); }
static INLINE void narrow(VF v, float *to) { *(UF *)to = v; }
static INLINE void narrow(VD v, double *to) { *(UD *)to = v; }
static INLINE void narrow(VF v, bf16 *to) { // to nearest even
    VU b = same_bits<VU>(v), number = same_bits<VU>(v == v);
    b = (((b + 0x7fff + ((b >> 16) & 1)) >> 16) & number) | (0x7fc0 & ~number);
    *(UH *)to = __builtin_convertvector(b, VH);
}
template <class V, class In> static INLINE void narrow_exact(V v, In *to) { narrow(v, to); }
static INLINE void narrow_exact(VF v, bf16 *to) { // of what bfloat16 holds
    *(UH *)to = __builtin_convertvector(same_bits<VU>(v) >> 16, VH);
}

template <class S> struct Lanes { // the neurons of a block
    typedef typename Vectors<S>::V V;
    typedef typename Vectors<S>::I I;
    static constexpr int WIDE = BYTES / sizeof(S), PARTS = BLOCK / WIDE;
    V p[PARTS];
    INLINE Lanes() {}
    INLINE Lanes(S x) { EACH(j, PARTS) p[j] = x - V{}; } // minus, so that -0 stays -0
#define OPERATOR(o) \
    friend INLINE Lanes operator o(Lanes a, Lanes b) { EACH(j, PARTS) a.p[j] = a.p[j] o b.p[j]; return a; }
    OPERATOR(+) OPERATOR(-) OPERATOR(*) OPERATOR(/)
    template <class F> INLINE Lanes map(F f) const { Lanes r; EACH(j, PARTS) r.p[j] = f(p[j]); return r; }
    template <class F> INLINE Lanes one_by_one(F f) const {
        return map([&](V v) { V r; EACH(l, WIDE) r[l] = f(v[l]); return r; });
    }
};
#define UNARY(name, expression) \
    template <class S> INLINE Lanes<S> name(const Lanes<S> &a) { \
        typedef typename Lanes<S>::V V; \
        return a.map([](V v) -> V { return expression; }); \
    }
UNARY(fired, v >= 0 ? V{} + 1 : V{})
UNARY(above_0, v > 0 ? V{} + 1 : V{})
UNARY(at_least_0, v > 0 ? v : V{})
UNARY(sign, v > 0 ? V{} + 1 : v < 0 ? V{} - 1 : V{})
UNARY(absolute, same_bits<V>(same_bits<typename Lanes<S>::I>(v) & ~same_bits<typename Lanes<S>::I>(-V{})))
template <class S> INLINE Lanes<S> larger(const Lanes<S> &a, const Lanes<S> &b) {
    Lanes<S> r; EACH(j, Lanes<S>::PARTS) r.p[j] = a.p[j] > b.p[j] ? a.p[j] : b.p[j]; return r;
}
template <class S> INLINE Lanes<S> where_0(const Lanes<S> &a, const Lanes<S> &then, const Lanes<S> &otherwise) {
    Lanes<S> r; EACH(j, Lanes<S>::PARTS) r.p[j] = a.p[j] == 0 ? then.p[j] : otherwise.p[j]; return r;
}
static INLINE Lanes<double> exponential(Lanes<double> x) { return x.one_by_one([](double v) { return exp(v); }); }
static INLINE Lanes<float> exponential(Lanes<float> x) { // 2^k e^r, |r| <= log(2) / 2, e^r by Taylor
    return x.map([](VF v) -> VF {
        v = v < -87.f ? VF{} - 87.f : v > 88.f ? VF{} + 88.f : v;
        VF k = (v * 1.44269504f + 12582912.f) - 12582912.f, r = v - k * 0.693145752f - k * 1.42860677e-6f;
        VF e = 1 + r * (1 + r * (1.f / 2 + r * (1.f / 6 + r * (1.f / 24 + r * (1.f / 120 + r * (1.f / 720 + r * (1.f / 5040)))))));
        return e * same_bits<VF>((__builtin_convertvector(k, Vectors<float>::I) + 127) << 23);
    });
}
