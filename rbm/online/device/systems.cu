// The reduced systems of the points of a block: coefficients, assembly, and their solution by one warp each.

// ---- coefficients

// x^e with the operations of rbm/parameters/powers.py
DEVICE double integer_power(double x, int exponent) {
    int rest = exponent < 0 ? -exponent : exponent;
    double made = 1.0, square = x;
    while (true) {
        if (rest & 1) made = __dmul_rn(made, square);
        rest >>= 1;
        if (rest == 0) return exponent > 0 ? made : __ddiv_rn(1.0, made);
        square = __dmul_rn(square, square);
    }
}

// Run the steps of one formula up to its STORE; return the value and where it belongs.
DEVICE double formula(const long long* steps, const double* numbers, const double* mu, int& place) {
    double stack[DEPTH];
    int top = -1;
    while (true) {
        const int operation = (int)steps[0], operand = (int)steps[1];
        steps += 2;
        if (operation == COLUMN) {
            stack[++top] = mu[operand];
        } else if (operation == NUMBER) {
            stack[++top] = numbers[operand];
        } else if (operation == STORE) {
            place = operand;
            return stack[top];
        } else if (operation <= DIVIDE) {
            const double b = stack[top--], a = stack[top];
            stack[top] = operation == ADD        ? __dadd_rn(a, b)
                         : operation == SUBTRACT ? __dadd_rn(a, -b)
                         : operation == MULTIPLY ? __dmul_rn(a, b)
                                                 : __ddiv_rn(a, b);
        } else {
            const double a = stack[top];
            stack[top] = operation == NEGATE    ? -a
                         : operation == ROOT    ? __dsqrt_rn(a)
                         : operation == MODULUS ? fabs(a)
                                                : integer_power(a, operand);
        }
    }
}

// Evaluate the program for all points of the block; a point out of range, or with a value that is none, is OUTSIDE.
DEVICE void coefficients(const Sizes& s, const long long* integers, const double* numbers, const Points& at, Block& b) {
    for (int t = threadIdx.x; t < POINTS * (int)s.formulas; t += blockDim.x) {
        const int p = t % POINTS;
        int place = 0;
        const long long* steps = integers + s.steps + integers[s.starts + t / POINTS];
        const double value = formula(steps, numbers + s.constants, at.mus + b.row[p] * s.columns, place);
        if (place < s.qa) {
            b.theta[p * s.qa + place] = wide(value);
        } else if (place < s.qa + s.qf) {
            b.phi[p * s.qf + place - s.qa] = wide(value);
        } else {
            b.beta[p] = value;
            if (!(value > 0.0)) b.state[p] = OUTSIDE;
        }
        if (!is_finite(value)) b.state[p] = OUTSIDE;
    }
    for (int t = threadIdx.x; t < POINTS * (int)s.limited; t += blockDim.x) {
        const int p = t % POINTS, j = t / POINTS;
        const double x = at.mus[b.row[p] * s.columns + j];
        if (!(numbers[s.limits + j] <= x && x <= numbers[s.limits + s.columns + j])) b.state[p] = OUTSIDE;
    }
}

// Fetch what was evaluated before.
DEVICE void given(const Sizes& s, const Points& at, Block& b) {
    for (int t = threadIdx.x; at.theta && t < POINTS * (int)s.qa; t += blockDim.x)
        b.theta[t] = at.theta[b.row[t / s.qa] * s.qa + t % s.qa];
    for (int t = threadIdx.x; at.phi && t < POINTS * (int)s.qf; t += blockDim.x)
        b.phi[t] = at.phi[b.row[t / s.qf] * s.qf + t % s.qf];
    for (int t = threadIdx.x; at.beta && t < POINTS; t += blockDim.x) b.beta[t] = at.beta[b.row[t]];
}

// ---- assembly

// The entry (i, j) of a lower triangle, column by column, with the row n below it for the right-hand side.
DEVICE int triangle(int n, int i, int j) { return j * (n + 1) - j * (j - 1) / 2 + i - j; }

// Where entry i of the right-hand side stands: conjugated as the last row, or as the last column of a square.
DEVICE int source(int n, int i) { return DEFINITE ? triangle(n, n, i) : n * n + i; }

// Write sum_q weights_q terms_q for entries 0 .. count of all points; each number of the model is read once a block.
template <bool OF_RHS>
DEVICE void assemble(const Sizes& s, const double* numbers, const Block& b) {
    const int count = (int)(OF_RHS ? s.n : s.entries), terms = (int)(OF_RHS ? s.qf : s.qa);
    const Wide* weights = OF_RHS ? b.phi : b.theta;
    const long long first = OF_RHS ? s.sources : s.terms;
    for (int e = threadIdx.x; e < count; e += blockDim.x) {
        const int place = OF_RHS ? source((int)s.n, e) : e;
        for (int p = 0; p < POINTS; p += GROUP) {
            Number sum[GROUP];
#pragma unroll
            for (int k = 0; k < GROUP; ++k) sum[k] = zero();
            for (int q = 0; q < terms; ++q) {
                const Number a = narrow(number_at(numbers, first, q * count + e));
#pragma unroll
                for (int k = 0; k < GROUP; ++k) sum[k] = fused(narrow(weights[(p + k) * terms + q]), a, sum[k]);
            }
#pragma unroll
            for (int k = 0; k < GROUP; ++k)
                b.matrices[(p + k) * s.room + place] = OF_RHS && DEFINITE ? conjugate(sum[k]) : sum[k];
        }
    }
}

// ---- solution by one warp

#if DEFINITE
// Solve by A = L D L^H; return whether all pivots are positive.
//
// Column j of the triangle becomes that of L D. Its last row, the right-hand side f^H, becomes (L^{-1} f)^H on the way.
// row (n,), inverse (n,) : scratch of this warp
DEVICE bool solve(int n, Number* a, Number* row, REAL* inverse, Wide* gamma, int lane) {
    bool positive = true;
    for (int j = 0; j < n; ++j) {
        for (int k = lane; k < j; k += WARP) row[k] = scaled(conjugate(a[triangle(n, j, k)]), inverse[k]);
        __syncwarp();
        for (int i = j + lane; i <= n; i += WARP) {
            Number sum = a[triangle(n, i, j)];
            for (int k = 0, at = i; k < j; at += n - k, ++k) sum = fused(negative(a[at]), row[k], sum);
            a[triangle(n, i, j)] = sum;
            if (i == j) inverse[j] = 1 / real(sum);
        }
        __syncwarp();
        positive = positive && real(a[triangle(n, j, j)]) > 0;
    }
    for (int j = n - 1; j >= 0; --j) {
        const Number x = scaled(conjugate(a[triangle(n, n, j)]), inverse[j]);
        if (lane == 0) gamma[j] = widened(x);
        for (int k = lane; k < j; k += WARP) {
            Number& z = a[triangle(n, n, k)];
            z = fused(negative(a[triangle(n, j, k)]), conjugate(x), z);
        }
        __syncwarp();
    }
    return positive;
}
#else
// Solve by LU with partial pivoting, columns one after the other, the right-hand side as column n.
DEVICE bool solve(int n, Number* a, Number*, REAL*, Wide* gamma, int lane) {
    for (int k = 0; k < n; ++k) {
        double best = -1.0;
        int at = k;
        for (int i = k + lane; i < n; i += WARP) {
            const double size = largeness(a[k * n + i]);
            if (size > best) best = size, at = i;
        }
#pragma unroll
        for (int step = WARP / 2; step > 0; step /= 2) {
            const double size = __shfl_xor_sync(0xffffffffu, best, step);
            const int other = __shfl_xor_sync(0xffffffffu, at, step);
            if (size > best || (size == best && other < at)) best = size, at = other;
        }
        for (int j = k + lane; j <= n && at != k; j += WARP) {
            const Number x = a[j * n + k];
            a[j * n + k] = a[j * n + at];
            a[j * n + at] = x;
        }
        __syncwarp();
        for (int i = k + 1 + lane; i < n; i += WARP) {
            const Number factor = negative(quotient(a[k * n + i], a[k * n + k]));
            for (int j = k + 1; j <= n; ++j) a[j * n + i] = fused(factor, a[j * n + k], a[j * n + i]);
        }
        __syncwarp();  // the shuffles above order no memory
    }
    for (int j = n - 1; j >= 0; --j) {
        const Number x = quotient(a[n * n + j], a[j * n + j]);
        if (lane == 0) gamma[j] = widened(x);
        for (int i = lane; i < j; i += WARP) a[n * n + i] = fused(negative(x), a[j * n + i], a[n * n + i]);
        __syncwarp();
    }
    return true;
}
#endif

// Solve the systems of all points, a warp each, and write gamma and verdicts to the room of the block.
DEVICE void solve_all(const Sizes& s, Block& b) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP, n = (int)s.n;
    Number* row = b.matrices + POINTS * s.room + warp * n;
    REAL* inverse = reinterpret_cast<REAL*>(b.matrices + POINTS * s.room + warps * n) + warp * n;
    for (int p = warp; p < POINTS; p += warps) {
        const bool positive = solve(n, b.matrices + p * s.room, row, inverse, b.gamma + p * n, lane);
        double lost = 0.0;
        for (int i = lane; i < n; i += WARP) lost += !is_finite(b.gamma[p * n + i]);
        lost = warp_sum(lost);
        if (lane == 0 && b.state[p] == SOLVED) b.state[p] = !positive ? INDEFINITE : lost > 0 ? NOT_FINITE : SOLVED;
    }
}
