// Numbers of the fused query, real or complex, and sums over the threads of a warp.
//
// Before this text stand, written by rbm/online/device/source.py:
//   REAL      float or double: the precision of the reduced matrices
//   COMPLEX   1 for complex numbers
//   DEFINITE  1 for L D L^H of Hermitian systems, 0 for LU with partial pivoting
//   POINTS    the number of points of a block of threads
//   DEPTH     the height of the stack of the program of coefficients
//   ROWS      the rows of R that a warp multiplies together, two a thread
//   THREADS, SHARP, RESOLVED, TINY, the enumerations, and struct Sizes.

#define WARP 32
#define GROUP (POINTS < 8 ? POINTS : 8)  // points whose sums one thread holds in registers
#define WEAK (POINTS < 4 ? POINTS : 4)   // points that are evaluated again together
#define DEVICE __device__ __forceinline__

template <typename T> struct Complex {
    T re, im;
};
#if COMPLEX
template <typename T> using NumberOf = Complex<T>;
#else
template <typename T> using NumberOf = T;
#endif
typedef NumberOf<REAL> Number;  // of the reduced system
typedef NumberOf<double> Wide;  // of coefficients, residuals and outputs

DEVICE float fused(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE double fused(double a, double b, double c) { return fma(a, b, c); }
DEVICE float conjugate(float a) { return a; }
DEVICE double conjugate(double a) { return a; }
DEVICE float negative(float a) { return -a; }
DEVICE double negative(double a) { return -a; }
DEVICE float real(float a) { return a; }
DEVICE double real(double a) { return a; }
DEVICE float modulus(float a) { return fabsf(a); }
DEVICE double modulus(double a) { return fabs(a); }
DEVICE float largeness(float a) { return fabsf(a); }
DEVICE double largeness(double a) { return fabs(a); }
DEVICE float scaled(float a, float s) { return a * s; }
DEVICE double scaled(double a, double s) { return a * s; }
DEVICE float quotient(float a, float b) { return a / b; }
DEVICE double quotient(double a, double b) { return a / b; }
DEVICE bool not_zero(double a) { return a != 0.0; }
DEVICE bool is_finite(double a) { return a - a == 0.0; }

#if COMPLEX
template <typename T> DEVICE Complex<T> fused(Complex<T> a, Complex<T> b, Complex<T> c) {
    return {fused(-a.im, b.im, fused(a.re, b.re, c.re)), fused(a.im, b.re, fused(a.re, b.im, c.im))};
}
template <typename T> DEVICE Complex<T> conjugate(Complex<T> a) { return {a.re, -a.im}; }
template <typename T> DEVICE Complex<T> negative(Complex<T> a) { return {-a.re, -a.im}; }
template <typename T> DEVICE T real(Complex<T> a) { return a.re; }
DEVICE double modulus(Complex<double> a) { return hypot(a.re, a.im); }
template <typename T> DEVICE T largeness(Complex<T> a) { return modulus(a.re) + modulus(a.im); }
template <typename T> DEVICE Complex<T> scaled(Complex<T> a, T s) { return {a.re * s, a.im * s}; }
// by the larger part of b, so that no square can overflow
template <typename T> DEVICE Complex<T> quotient(Complex<T> a, Complex<T> b) {
    if (modulus(b.re) >= modulus(b.im)) {
        const T ratio = b.im / b.re, size = fused(ratio, b.im, b.re);
        return {fused(a.im, ratio, a.re) / size, fused(-a.re, ratio, a.im) / size};
    }
    const T ratio = b.re / b.im, size = fused(ratio, b.re, b.im);
    return {fused(a.re, ratio, a.im) / size, fused(a.im, ratio, -a.re) / size};
}
DEVICE bool not_zero(Complex<double> a) { return a.re != 0.0 || a.im != 0.0; }
DEVICE bool is_finite(Complex<double> a) { return is_finite(a.re) && is_finite(a.im); }
DEVICE Number narrow(Wide a) { return {(REAL)a.re, (REAL)a.im}; }
DEVICE Wide widened(Number a) { return {(double)a.re, (double)a.im}; }
DEVICE Number zero() { return {0, 0}; }
DEVICE Wide wide(double a) { return {a, 0.0}; }
#else
DEVICE Number narrow(Wide a) { return (REAL)a; }
DEVICE Wide widened(Number a) { return (double)a; }
DEVICE Number zero() { return 0; }
DEVICE Wide wide(double a) { return a; }
#endif

// Number i of an array of doubles that holds numbers, each one double or two.
DEVICE Wide number_at(const double* numbers, long long first, int i) {
    return reinterpret_cast<const Wide*>(numbers + first)[i];
}

// The sum of x over the threads of a warp, in all of them, in an order that does not change.
DEVICE double warp_sum(double x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}
#if COMPLEX
DEVICE Wide warp_sum(Wide x) { return {warp_sum(x.re), warp_sum(x.im)}; }
#endif

// ---- numbers in about twice the precision: a head and a tail. The _rn operations are never fused with others.

struct Pair {
    double head, tail;
};

// a + b exactly
DEVICE Pair two_sum(double a, double b) {
    const double s = __dadd_rn(a, b), t = __dadd_rn(s, -a);
    return {s, __dadd_rn(__dadd_rn(a, -__dadd_rn(s, -t)), __dadd_rn(b, -t))};
}

// a b exactly
DEVICE Pair two_product(double a, double b) {
    const double p = __dmul_rn(a, b);
    return {p, __fma_rn(a, b, -p)};
}

// a b + c d
DEVICE Pair two_products(double a, double b, double c, double d) {
    const Pair p = two_product(a, b), q = two_product(c, d), s = two_sum(p.head, q.head);
    return two_sum(s.head, __dadd_rn(s.tail, __dadd_rn(p.tail, q.tail)));
}

// ---- what the threads of a block share

struct Points {
    const double* mus;  // (M, p)
    const Wide *theta, *phi;
    const double* beta;
};

struct Block {
    Number* matrices;                                 // POINTS times the room of a matrix and its right-hand side
    double* c;                                        // the residual coefficients, in the place of the matrices
    Wide *theta, *phi, *gamma;                        // (POINTS, Qa), (POINTS, Qf), (POINTS, N)
    double *beta, *norm, *floor, *sharp, *present;    // (POINTS,)
    double* partial;                                  // sums of warps
    long long* row;                                   // (POINTS,) the number of each point in the batch
    int *state, *weak;                                // (POINTS,)
};
