// Where blocks lie in a tensor, what there is of each channel, and sums over all but channels.
#pragma once
#include "call.h"
#include "lanes.h"

constexpr int CORNER = BLOCK / 4, SHORTEST_PERIOD = 256, LONGEST_PERIOD = 2048, CHUNKS = 64, LEAST_CHUNK = 256;

template <class S> struct Layout { // how each sample is cut into runs, and those into blocks
    int64_t N, W, C, P, period, run, runs, blocks, columns, step, chunks;
    bool corners;
    Layout(const Call &call, bool corners) : N(call.N), W(call.W), C(call.C), P(call.H * call.W), corners(corners) {
        columns = W / 2, step = corners ? CORNER : BLOCK;
        for (period = C; period % step && period <= LONGEST_PERIOD; period += C) {}
        bool on = !corners && (period <= LONGEST_PERIOD || P == 1); // blocks go on from position to position
        run = on ? P * C : C, runs = on ? 1 : corners ? P / 4 : P, blocks = (run + step - 1) / step;
        if (!on || period > LONGEST_PERIOD) period = blocks * step; // a run is short, or there is but one
        // So that sums do not come back to a place before it is written.
        else for (int64_t one = period; period < SHORTEST_PERIOD; period += one) {}
        int64_t all = N * runs * blocks;
        chunks = all < 2 * LEAST_CHUNK ? 1 : all < LEAST_CHUNK * CHUNKS ? all / LEAST_CHUNK : CHUNKS;
    }
};

template <class S> struct Block {
    typedef Lanes<S> L;
    typedef typename L::V V;
    static constexpr int WIDE = L::WIDE, PARTS = L::PARTS;
    const Layout<S> &layout;
    const bool corners;
    int64_t n, r, l, start, place; // sample, run, first lane in its run; where it lies in a sample and in a pattern
    bool full;
    INLINE Block(const Layout<S> &layout, bool corners) : layout(layout), corners(corners) {}
    void at_number(int64_t i) { // sample by sample
        n = i / layout.blocks / layout.runs, r = i / layout.blocks % layout.runs;
        l = i % layout.blocks * layout.step, place = l % layout.period;
        find();
    }
    INLINE void next() {
        l += layout.step, place += layout.step;
        if (place == layout.period) place = 0;
        if (l >= layout.run) {
            l = place = 0;
            if (++r == layout.runs) r = 0, ++n;
        }
        find();
    }
    INLINE void find() {
        start = corners ? (2 * (r / layout.columns) * layout.W + 2 * (r % layout.columns)) * layout.C + l : r * layout.run + l;
        full = layout.run - l >= (corners ? CORNER : BLOCK);
    }
    // Of the j-th vector: where it lies in a sample, and in a pattern, and how many of its lanes there are.
    INLINE int64_t at(int j) const {
        if (!corners) return start + j * WIDE;
        constexpr int EACH_CORNER = PARTS < 4 ? 1 : PARTS / 4;
        int corner = j / EACH_CORNER;
        return start + (corner / 2 * layout.W + corner % 2) * layout.C + j % EACH_CORNER * WIDE;
    }
    INLINE int64_t in_pattern(int j) const { return place + (corners ? j % (PARTS < 4 ? 1 : PARTS / 4) : j) * WIDE; }
    int valid(int j) const {
        int64_t here = layout.run - l - (in_pattern(j) - place);
        return here > WIDE ? WIDE : here < 0 ? 0 : here;
    }
    // What is rare gives its result by value: a register whose address is taken is none.
    template <class In> RARE L take_some(const In *sample) const {
        L x;
        EACH(j, PARTS) {
            In some[WIDE] = {};
            memcpy(some, sample + at(j), valid(j) * sizeof(In));
            widen(some, x.p[j]);
        }
        return x;
    }
    template <class In> static RARE void give_part(V v, In *to, int many) {
        In some[WIDE];
        narrow(v, some);
        memcpy(to, some, many * sizeof(In));
    }
    template <class In> RARE void give_some(const L &x, In *sample) const { EACH(j, PARTS) give_part(x.p[j], sample + at(j), valid(j)); }
    template <class In> INLINE L take(const In *sample) const {
        if (__builtin_expect(!full, 0)) return take_some(sample);
        L x;
        EACH(j, PARTS) widen(sample + at(j), x.p[j]);
        return x;
    }
    template <class In> INLINE void give(const L &x, In *sample) const {
        if (__builtin_expect(full, 1)) EACH(j, PARTS) narrow(x.p[j], sample + at(j));
        else give_some(L(x), sample);
    }
    template <class In> INLINE void give_spikes(const L &s, In *sample) const { // pooled, where blocks are corners
        if (!corners) {
            if (__builtin_expect(full, 1)) EACH(j, PARTS) narrow_exact(s.p[j], sample + at(j));
            else give_some(L(s), sample);
            return;
        }
        constexpr int EACH_CORNER = PARTS < 4 ? 1 : PARTS / 4;
        EACH(j, EACH_CORNER) {
            V mean = s.p[j];
            for (int k = 1; k < 4; ++k) mean = mean + s.p[(j + k * EACH_CORNER) % PARTS];
            mean = mean * S(.25);
            In *to = sample + r * layout.run + l + j * WIDE;
            if (__builtin_expect(full, 1)) narrow_exact(mean, to);
            else give_part(mean, to, valid(j));
        }
    }
    // The cotangent of each lane after pooling; ``pooled`` says of each vector of a sample where it stands.
    template <class In> INLINE L take_spread(const In *sample, const int32_t *pooled) const {
        if (__builtin_expect(!full || layout.C % WIDE, 0)) return take_scattered(sample);
        L g;
        EACH(j, PARTS) {
            widen(sample + pooled[at(j) / WIDE], g.p[j]);
            g.p[j] = g.p[j] * S(.25);
        }
        return g;
    }
    template <class In> RARE L take_scattered(const In *sample) const {
        L g;
        EACH(j, PARTS) {
            In some[WIDE] = {};
            EACH(k, valid(j)) {
                int64_t at_k = at(j) + k, c = at_k % layout.C, x = at_k / layout.C % layout.W, y = at_k / layout.C / layout.W;
                some[k] = sample[(y / 2 * layout.columns + x / 2) * layout.C + c];
            }
            widen(some, g.p[j]);
            g.p[j] = g.p[j] * S(.25);
        }
        return g;
    }
    INLINE L pattern(const S *of) const { L x; EACH(j, PARTS) widen(of + in_pattern(j), x.p[j]); return x; }
    INLINE void add(L x, S *to) const { // into a pattern of sums
        if (!full) EACH(j, PARTS) EACH(k, WIDE) if (k >= valid(j)) x.p[j][k] = 0;
        EACH(j, PARTS) { V v; widen(to + in_pattern(j), v); narrow(v + x.p[j], to + in_pattern(j)); }
    }
    // The next block. With many steps there are more streams through memory than the processor follows by itself.
    template <class In> INLINE void prefetch(const In *sample) const {
        EACH(j, PARTS) if (corners || j * WIDE * sizeof(In) % 64 == 0) __builtin_prefetch(sample + at(j) + layout.step);
    }
    // Of a step of a tensor that is broadcast as ``by`` says; by channel it has come as patterns.
    INLINE L by(int by, const void *all, int64_t t) const {
        if (by == CHANNEL) return pattern((const S *)all + t * layout.period);
        return take((const S *)all + (by == ELEMENT ? t * layout.N + n : t) * layout.P * layout.C);
    }
};

// ---- scratch and sums

// A pattern's lanes, l + c, period by period of the channels; the last may be cut off.
#define EACH_CHANNEL(l, c) \
    for (int64_t l = 0; l < layout.period; l += layout.C) for (int64_t c = 0; c < layout.C && l + c < layout.period; ++c)

template <class S> struct Room { // zeros at first
    S *at;
    int64_t used = 0;
    explicit Room(int64_t many) {
        int64_t bytes = (many * sizeof(S) + 63) / 64 * 64;
        at = (S *)aligned_alloc(64, bytes + 64);
        memset(at, 0, bytes);
    }
    ~Room() { free(at); }
    S *take(int64_t many) { S *found = at + used; used += many; return found; }
    const S *pattern(const Layout<S> &layout, const void *channels, int64_t rows = 1) { // [rows, C] as [rows, period]
        S *found = take(rows * layout.period);
        if (channels) EACH(i, rows) EACH_CHANNEL(l, c) found[i * layout.period + l + c] = ((const S *)channels)[i * layout.C + c];
        return found;
    }
};
template <class S> struct Given { // what a site has of each channel, as patterns, or of each neuron, as it is
    Room<S> room;
    const S *scale, *shift, *middle;
    const void *decays, *gains, *sharpness, *adaptation, *setpoint;
    Given(const Call &call, const Layout<S> &layout) : room((3 + 5 * STEPS) * layout.period) {
        scale = room.pattern(layout, call.scale), shift = room.pattern(layout, call.shift), middle = room.pattern(layout, call.middle);
        auto of = [&](int by, const void *all) { return by == CHANNEL ? room.pattern(layout, all, STEPS) : all; };
        decays = of(DECAY_BY, call.decays), gains = of(GAIN_BY, call.gains), sharpness = of(SHARPNESS_BY, call.sharpness);
        adaptation = of(MOVING_BY, call.adaptation), setpoint = of(MOVING_BY, call.setpoint);
    }
};
template <class S> struct Sums { // of each chunk, for every row (a step, or one) and channel, in double
    double *parts;
    int64_t rows, C, chunks;
    Sums(bool wanted, const Layout<S> &layout, int64_t rows) : parts(nullptr), rows(rows), C(layout.C), chunks(layout.chunks) {
        if (wanted) parts = (double *)calloc(chunks * rows * C, sizeof(double));
    }
    ~Sums() { free(parts); }
    void add(int64_t chunk, const Layout<S> &layout, const S *patterns) {
        if (parts) EACH(i, rows) EACH_CHANNEL(l, c) parts[(chunk * rows + i) * C + c] += patterns[i * layout.period + l + c];
    }
    void close(void *to) {
        if (parts) EACH(i, rows * C) {
            for (int64_t k = 1; k < chunks; ++k) parts[i] += parts[k * rows * C + i];
            ((S *)to)[i] = parts[i];
        }
    }
};
template <class S, class Work> void in_chunks(const Call &call, const Layout<S> &layout, int64_t all, Work work) {
#pragma omp parallel for num_threads(call.threads) schedule(dynamic) if (call.threads > 1 && layout.chunks > 1)
    for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) work(chunk, all * chunk / layout.chunks, all * (chunk + 1) / layout.chunks);
}
