// The fused query: a block of threads answers POINTS points, from parameters to bounds, without leaving shared memory.

// ---- bounds and outputs

struct Answers {
    Number* gamma;         // (M, N), or 0 if it is not asked for
    double *value, *floor; // (M,)
    unsigned char* resolved;
    Wide* outputs;         // (M, outputs)
    double* output_bounds; // (M, outputs)
    signed char* state;    // (M,) SOLVED, INDEFINITE, NOT_FINITE, NO_BOUND or OUTSIDE
};

// s_0 min_q (s_q theta_q + s_{2Qa+q}) - sum_q s_{Qa+q} |theta_q|
DEVICE double min_theta(const Sizes& s, const double* stability, const Wide* theta) {
    const int qa = (int)s.qa;
    double least = fma(stability[1], real(theta[0]), stability[1 + 2 * qa]), spent = stability[1 + qa] * modulus(theta[0]);
    for (int q = 1; q < qa; ++q) {
        const double ratio = fma(stability[1 + q], real(theta[q]), stability[1 + 2 * qa + q]);
        least = least > ratio || ratio != ratio ? ratio : least;
        spent = fma(stability[1 + qa + q], modulus(theta[q]), spent);
    }
    return stability[0] * least - spent;
}

// The sums of rbm.online.forms.Energy at one point, by a warp.
struct Energy {
    double total, skew, fixed;
};

DEVICE Energy energy(const Sizes& s, const double* numbers, const Wide* theta, const Wide* gamma, int lane) {
    const int qa = (int)s.qa, n = (int)s.n;
    const double *weights = numbers + s.energy, *skew = numbers + s.skew;
    double total = 0.0, linear = 0.0, squares = 0.0, spent = 0.0;
    for (int i = lane; i < n; i += WARP) {
        const double g = modulus(gamma[i]);
        double inner = 0.0;
        for (int q = 0; q < qa; ++q) inner = fma(sqrt(modulus(theta[q])), weights[q * n + i], inner);
        total = fma(inner, g, total);
        linear = fma(weights[qa * n + i], g, linear);
        squares = fma(g, g, squares);
    }
    total = warp_sum(total), linear = warp_sum(linear), squares = warp_sum(squares);
    for (int q = 0; q < qa; ++q) spent = fma(skew[1 + q], modulus(theta[q]), spent);
    return {fma(total, total, linear), spent, spent * skew[0] * sqrt(squares)};
}

// The bound of an output from that of the solution; for a compliant one (mismatch >= 0) its square, if smaller.
DEVICE double output_bound(double norm, double bound, double rounding, double mismatch, double beta, Energy sums) {
    double made = fma(norm, bound, rounding);
    if (mismatch >= 0.0) {
        const double sharp = (beta * bound + (mismatch + sums.fixed + sums.skew * bound)) * bound;
        const double squared = (1 + 1e-12) * (sharp + sums.total) + rounding;
        made = squared < made ? squared : made;
    }
    return norm > 0.0 && bound > 0.0 ? made + TINY : made;
}

// Write all answers of the points of a block, a warp for each.
DEVICE void certify(const Sizes& s, const double* numbers, const Answers& to, int here, const Block& b) {
    const int lane = threadIdx.x % WARP, n = (int)s.n, outputs = (int)s.outputs;
    const bool compliant = s.compliant && DEFINITE && sizeof(REAL) == sizeof(double);
    for (int p = threadIdx.x / WARP; p < here; p += blockDim.x / WARP) {
        const long long row = b.row[p];
        const Wide *theta = b.theta + p * s.qa, *gamma = b.gamma + p * n;
        const double beta = s.min_theta ? min_theta(s, numbers + s.stability, theta) : b.beta[p];
        const double value = b.norm[p] / beta, floor = b.floor[p] / beta, bound = value + floor;
        bool lost = !(beta > 0.0 && is_finite(beta) && is_finite(bound));
        Energy sums = {0.0, 0.0, 0.0};
        if (compliant) sums = energy(s, numbers, theta, gamma, lane);
        for (int o = 0; o < outputs; ++o) {
            Wide sum = wide(0.0);
            double rounding = 0.0;
            for (int i = lane; i < n; i += WARP) {
                sum = fused(number_at(numbers, s.functionals, o * n + i), gamma[i], sum);
                rounding = fma(numbers[s.magnitudes + o * n + i], modulus(gamma[i]), rounding);
            }
            sum = warp_sum(sum), rounding = warp_sum(rounding);
            const double mismatch = compliant ? numbers[s.mismatch + o] : -1.0;
            const double limit = output_bound(numbers[s.norms + o], bound, rounding, mismatch, beta, sums);
            lost = lost || !is_finite(limit) || !is_finite(sum);
            if (lane == 0) to.outputs[row * outputs + o] = sum, to.output_bounds[row * outputs + o] = limit;
        }
        for (int i = lane; to.gamma && i < n; i += WARP) to.gamma[row * n + i] = narrow(gamma[i]);
        if (lane == 0) {
            to.value[row] = value;
            to.floor[row] = floor;
            to.resolved[row] = b.norm[p] >= RESOLVED * b.floor[p];
            to.state[row] = b.state[p] == SOLVED && lost ? NO_BOUND : b.state[p];
        }
    }
}

// ---- the kernel

// The shared memory of a block; rbm/online/device/source.py counts its bytes. Matrices, c and its pairs take turns.
DEVICE Block carve(const Sizes& s, double* shared) {
    Block b;
    b.c = shared;
    b.matrices = reinterpret_cast<Number*>(shared);
    double* rest = shared + s.arena;
    b.theta = reinterpret_cast<Wide*>(rest), rest += PARTS * POINTS * s.qa;
    b.phi = reinterpret_cast<Wide*>(rest), rest += PARTS * POINTS * s.qf;
    b.gamma = reinterpret_cast<Wide*>(rest), rest += PARTS * POINTS * s.n;
    b.beta = rest, rest += POINTS;
    b.norm = rest, rest += POINTS;
    b.floor = rest, rest += POINTS;
    b.sharp = rest, rest += POINTS;
    b.present = rest, rest += POINTS;
    b.row = reinterpret_cast<long long*>(rest), rest += POINTS;
    b.state = reinterpret_cast<int*>(rest), rest += POINTS;
    b.weak = b.state + POINTS;
    b.partial = rest;
    return b;
}

// Answer the points 0 .. count, or those with the numbers in `rows`.
//
// integers, numbers : the model (rbm/online/device/packing.py)
// mus (M, p); theta, phi, beta : what the program of the model leaves out, else 0
extern "C" __global__ void __launch_bounds__(THREADS)
    query(const long long* __restrict__ integers, const double* __restrict__ numbers, const double* __restrict__ mus,
          const Wide* __restrict__ theta, const Wide* __restrict__ phi, const double* __restrict__ beta,
          const long long* __restrict__ rows, long long count, Number* gamma, double* value, double* floor,
          unsigned char* resolved, Wide* outputs, double* output_bounds, signed char* state) {
    extern __shared__ __align__(16) double shared[];
    const Sizes& s = *reinterpret_cast<const Sizes*>(integers);
    const Points at = {mus, theta, phi, beta};
    const long long base = (long long)blockIdx.x * POINTS;
    const int here = count - base < POINTS ? (int)(count - base) : POINTS;
    Block b = carve(s, shared);
    for (int p = threadIdx.x; p < POINTS; p += blockDim.x) {  // beyond the last point, that one is repeated
        const long long place = base + (p < here ? p : here - 1);
        b.row[p] = rows ? rows[place] : place;
        b.state[p] = SOLVED;
    }
    __syncthreads();
    given(s, at, b);
    coefficients(s, integers, numbers, at, b);
    __syncthreads();
    assemble<false>(s, numbers, b);
    __syncthreads();
    assemble<true>(s, numbers, b);
    __syncthreads();
    solve_all(s, b);
    __syncthreads();
    spread(s, b);
    floors(s, numbers, b);
    __syncthreads();
    products(s, integers, numbers, b);
    __syncthreads();
    norms(s, numbers, b);
    __syncthreads();
    look_again(s, integers, numbers, b);
    certify(s, numbers, {gamma, value, floor, resolved, outputs, output_bounds, state}, here, b);
}
