// Residual norms ||R c|| of the points of a block and their floors; near round-off once more in twice the precision.

#define PARTS (COMPLEX ? 2 : 1)

// c_j = phi_j, or -gamma_i theta_q for j = Qf + i Qa + q
DEVICE Wide residual_coefficient(const Sizes& s, const Block& b, int p, int j) {
    const int qa = (int)s.qa, qf = (int)s.qf, n = (int)s.n;
    if (j < qf) return b.phi[p * qf + j];
    const int i = (j - qf) / qa, q = (j - qf) % qa;
    return fused(negative(b.gamma[p * n + i]), b.theta[p * qa + q], wide(0.0));
}

// Write c of all points, point by point side by side; a complex number is two rows.
DEVICE void spread(const Sizes& s, Block& b) {
    const int terms = (int)(s.qf + s.n * s.qa);
    for (int t = threadIdx.x; t < POINTS * terms; t += blockDim.x) {
        const int j = t / POINTS, p = t % POINTS;
        const Wide x = residual_coefficient(s, b, p, j);
        b.c[PARTS * j * POINTS + p] = real(x);
#if COMPLEX
        b.c[(PARTS * j + 1) * POINTS + p] = x.im;
#endif
    }
}

// Write sum_j w_j |c_j| with the weights of both precisions, and whether a term is not zero: a warp for each point.
DEVICE void floors(const Sizes& s, const double* numbers, Block& b) {
    const int lane = threadIdx.x % WARP, qa = (int)s.qa, qf = (int)s.qf, n = (int)s.n;
    const double *plain = numbers + s.weights, *sharp = plain + qf + n * qa;
    for (int p = threadIdx.x / WARP; p < POINTS; p += blockDim.x / WARP) {
        const Wide *theta = b.theta + p * qa, *phi = b.phi + p * qf, *gamma = b.gamma + p * n;
        double total = 0.0, lower = 0.0, present = 0.0;
        for (int q = lane; q < qf; q += WARP) {
            total = fma(plain[q], modulus(phi[q]), total);
            lower = fma(sharp[q], modulus(phi[q]), lower);
            present += plain[q] > 0.0 && not_zero(phi[q]);
        }
        for (int i = lane; i < n; i += WARP) {
            double inner = 0.0, least = 0.0, there = 0.0;
            for (int q = 0; q < qa; ++q) {
                const int j = qf + i * qa + q;
                const double size = modulus(theta[q]);
                inner = fma(plain[j], size, inner);
                least = fma(sharp[j], size, least);
                there += plain[j] > 0.0 && not_zero(theta[q]);
            }
            total = fma(modulus(gamma[i]), inner, total);
            lower = fma(modulus(gamma[i]), least, lower);
            present += not_zero(gamma[i]) ? there : 0.0;
        }
        total = warp_sum(total), lower = warp_sum(lower), present = warp_sum(present);
        if (lane == 0) b.floor[p] = total, b.sharp[p] = lower, b.present[p] = present;
    }
}

// Write the sums of squares of R c, a task of a warp being ROWS rows and GROUP points.
//
// A block of rows starts at its first column that is not zero; its entries lie column by column.
DEVICE void products(const Sizes& s, const long long* integers, const double* numbers, Block& b) {
    const int lane = threadIdx.x % WARP, groups = POINTS / GROUP, width = (int)s.width;
    for (int task = threadIdx.x / WARP; task < (int)s.blocks * groups; task += blockDim.x / WARP) {
        const int block = task / groups, p = task % groups * GROUP;
        const double* r = numbers + s.factor + integers[s.places + 2 * block + 1] + lane;
        double upper[GROUP], under[GROUP];
#pragma unroll
        for (int k = 0; k < GROUP; ++k) upper[k] = under[k] = 0.0;
#pragma unroll 4
        for (int j = (int)integers[s.places + 2 * block]; j < width; ++j, r += ROWS) {
            const double first = r[0], second = r[WARP];
#pragma unroll
            for (int k = 0; k < GROUP; ++k) {
                const double x = b.c[j * POINTS + p + k];
                upper[k] = fma(first, x, upper[k]);
                under[k] = fma(second, x, under[k]);
            }
        }
#pragma unroll
        for (int k = 0; k < GROUP; ++k) {
            const double sum = warp_sum(fma(upper[k], upper[k], under[k] * under[k]));
            if (lane == 0) b.partial[block * POINTS + p + k] = sum;
        }
    }
}

// Finish norms and floors, and list the points whose floor gains a hundredth of the value by twice the precision.
DEVICE void norms(const Sizes& s, const double* numbers, Block& b) {
    const double relative = numbers[s.floors], absolute = numbers[s.floors + 1];
    for (int p = threadIdx.x; p < POINTS; p += blockDim.x) {
        double sum = 0.0;
        for (int block = 0; block < (int)s.blocks; ++block) sum += b.partial[block * POINTS + p];
        const double norm = sqrt(sum), part = fma(relative, norm, absolute);
        const double floor = b.present[p] > 0.0 ? b.floor[p] + part : 0.0;
        b.sharp[p] += absolute;
        b.norm[p] = norm;
        b.floor[p] = floor;
        b.weak[p] = s.refined && norm < SHARP * floor && norm < SHARP * (floor - fma(relative, norm, b.sharp[p]));
    }
}

// Write c of WEAK points in twice the precision.
DEVICE void spread_pairs(const Sizes& s, const int* points, Block& b, double* heads, double* tails) {
    const int terms = (int)(s.qf + s.n * s.qa), qa = (int)s.qa, qf = (int)s.qf;
    for (int t = threadIdx.x; t < WEAK * terms; t += blockDim.x) {
        const int j = t / WEAK, k = t % WEAK, p = points[k], at = PARTS * j * WEAK + k;
        const int i = (j - qf) / qa, q = (j - qf) % qa;
        const Wide x = j < qf ? b.phi[p * qf + j] : b.theta[p * qa + q];
        const Wide g = j < qf ? wide(0.0) : negative(b.gamma[p * (int)s.n + i]);
#if COMPLEX
        const Pair re = j < qf ? Pair{x.re, 0.0} : two_products(g.re, x.re, -g.im, x.im);
        const Pair im = j < qf ? Pair{x.im, 0.0} : two_products(g.re, x.im, g.im, x.re);
        heads[at] = re.head, tails[at] = re.tail;
        heads[at + WEAK] = im.head, tails[at + WEAK] = im.tail;
#else
        const Pair made = j < qf ? Pair{x, 0.0} : two_product(g, x);
        heads[at] = made.head, tails[at] = made.tail;
#endif
    }
}

// Write the sums of squares of this thread's rows of R c for WEAK points, by compensated sums (Dot2).
DEVICE void compensated(const Sizes& s, const long long* integers, const double* numbers, const double* heads,
                        const double* tails, double* squares) {
#pragma unroll
    for (int k = 0; k < WEAK; ++k) squares[k] = 0.0;
    for (int row = threadIdx.x; row < ROWS * (int)s.blocks; row += blockDim.x) {
        const long long* place = integers + s.places + 2 * (row / ROWS);
        const double* r = numbers + s.factor + place[1] + row % ROWS;
        double high[WEAK], low[WEAK];
#pragma unroll
        for (int k = 0; k < WEAK; ++k) high[k] = low[k] = 0.0;
        for (int j = (int)place[0]; j < (int)s.width; ++j, r += ROWS) {
            const double factor = *r;
#pragma unroll
            for (int k = 0; k < WEAK; ++k) {
                const Pair product = two_product(heads[j * WEAK + k], factor);
                const Pair sum = two_sum(high[k], product.head);
                const double error = __fma_rn(tails[j * WEAK + k], factor, product.tail);
                high[k] = sum.head;
                low[k] = __dadd_rn(low[k], __dadd_rn(sum.tail, error));
            }
        }
#pragma unroll
        for (int k = 0; k < WEAK; ++k) {
            const double made = __dadd_rn(high[k], low[k]);
            squares[k] = fma(made, made, squares[k]);
        }
    }
}

// Evaluate the weak points once more, WEAK at a time. Numbers too large for that keep their first values.
DEVICE void look_again(const Sizes& s, const long long* integers, const double* numbers, Block& b) {
    const double relative = numbers[s.floors];
    double *heads = b.c, *tails = b.c + WEAK * (int)s.width;
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    for (int first = 0; first < POINTS;) {
        int points[WEAK], found = 0;  // the next weak points, the last one repeated
        while (first < POINTS && found < WEAK) {
            if (b.weak[first]) {
#pragma unroll
                for (int k = 0; k < WEAK; ++k) points[k] = k >= found ? first : points[k];
                ++found;
            }
            ++first;
        }
        if (found == 0) break;
        spread_pairs(s, points, b, heads, tails);
        __syncthreads();
        double squares[WEAK];
        compensated(s, integers, numbers, heads, tails, squares);
#pragma unroll
        for (int k = 0; k < WEAK; ++k) {
            const double sum = warp_sum(squares[k]);
            if (lane == 0) b.partial[warp * WEAK + k] = sum;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
#pragma unroll
            for (int k = 0; k < WEAK; ++k) {
                double sum = 0.0;
                for (int w = 0; w < warps; ++w) sum += b.partial[w * WEAK + k];
                const double norm = sqrt(sum);
                if (is_finite(norm)) b.norm[points[k]] = norm, b.floor[points[k]] = fma(relative, norm, b.sharp[points[k]]);
            }
        }
        __syncthreads();
    }
}
