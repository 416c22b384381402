"""A state from sensors: the reduced space where it is sure, and an update from the sensors for what it lacks (PBDW).

Data y = C u + noise of k sensors. The estimate u* = z + v, z in the reduced space Z, v in U = P^{-1} span(C^H), solves

    min ||v||_P^2 + (1 / xi) ||y - C (z + v)||^2,    for xi = 0: min ||v||_P subject to C (z + v) = y.

With C^H = D R, V = P^{-1} D, G = D^H Z and [R; xi^{1/2} I] = Q R', z = Z c, v = V d:

    c = argmin ||R'^{-H} (y - R^H G c)||,    d = R R'^{-1} R'^{-H} (y - R^H G c).

For xi = 0 that is least squares with G, whose least singular value is beta (:mod:`rbm.uses.sensor_space`). Source:
Maday, Patera, Penn and Yano, Int. J. Numer. Meth. Engng 102 (2015) 933-965.

**Errors.** Whatever the rounding and xi, let e = y - C u* be what is left of the data, and K = C P^{-1} C^H. Then

    ||u* - u||_P <= (dist(u, Z) + ||noise||_{K^-1} + ||e||_{K^-1}) / beta + ||Pi_Z v||_P / beta^2.

Proof: the estimate u0 with xi = 0 is a linear function of data. It leaves states of Z as they are, so that for exact
data ||u0 - u|| <= dist(u, Z) / beta (its norm is 1 / beta, and so is that of its complement); data y' have ||u0|| <=
||y'||_{K^-1} / beta. The difference w of u* and the u0 of C u* has C w = 0, w = (I - Pi_U) s for some s in Z with
||Pi_U s||^2 <= ||Pi_Z v|| ||s||, hence ||w|| <= ||s|| <= ||Pi_Z v|| / beta^2, which is rounding.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg

from rbm.arithmetic.precision import ROUND_OFF, widened
from rbm.errors import FileFormatError, ModelError
from rbm.reduced.model import ReducedModel
from rbm.storage.archive import read_archive, write_archive
from rbm.uses.measurements import finite_numbers, plain_array, sensor_matrix
from rbm.uses.sensor_space import SensorSpace, inner_product_of, sensor_space
from rbm.uses.singular_values import singular_value_bounds

__all__ = ["PBDW", "StateEstimate", "pbdw"]

KIND = "state from sensors"
#: Arrays of a file that are real and not negative, with their dimensions.
REAL = {f"space/{name}": 0 for name in ("stability", "smallest", "largest", "eta", "omega", "cross_error", "defects")}
REAL |= {"space/distances": 1, "space/sizes": 1}


@dataclass(frozen=True)
class StateEstimate:
    """Estimates of M states."""

    coefficients: np.ndarray  #: c (M, N): the part in the reduced space
    update: np.ndarray  #: d (M, k): the part from the sensors, of P-norm about ||d||
    residuals: np.ndarray  #: (M, k) y - C u*, zero but for rounding if xi is
    basis: np.ndarray  #: Z (n, N)
    representers: np.ndarray  #: V (n, k)

    @property
    def states(self) -> np.ndarray:
        """The states u* (M, n)."""
        made: np.ndarray = self.coefficients @ self.basis.T + self.update @ self.representers.T
        return made

    def __len__(self) -> int:
        return len(self.coefficients)


@dataclass(frozen=True)
class PBDW:
    """Estimates states from k sensors; made by :func:`rbm.pbdw`, or read by :meth:`load`."""

    basis: np.ndarray  #: Z (n, N)
    space: SensorSpace
    regularization: float  #: xi
    to_coefficients: np.ndarray  #: (N, k): c = this y
    to_update: np.ndarray  #: (k, k): d = this y

    @property
    def stability(self) -> float:
        """The inf-sup constant beta, a proved lower bound; 1 is best."""
        return self.space.stability

    @property
    def noise_gain(self) -> float:
        """A bound of the P-norm that noise of Euclidean norm one moves the state by, proved."""
        s, t = self.space, np.concatenate([self.to_coefficients, self.to_update])
        crossed = float(np.linalg.norm(s.cross.conj().T @ self.to_update)) + s.cross_error * float(
            np.linalg.norm(self.to_update)
        )
        crossed = (crossed + 8 * len(t) ** 1.5 * ROUND_OFF * float(np.linalg.norm(self.to_update))) * 1.001
        of_v = float(np.linalg.norm(s.distances)) * float(np.linalg.norm(self.to_update))
        square = (1 + max(s.eta, s.omega)) * singular_value_bounds(t)[1] ** 2
        return ((square + 2 * float(np.linalg.norm(self.to_coefficients)) * crossed) ** 0.5 + of_v) * (
            1 + 4 * (t.size + self.basis.shape[1] + 64) * ROUND_OFF  # of the norms, sums of t.size squares at most
        )

    @property
    def white_noise_gain(self) -> float:
        """The root mean square of the P-norm that independent noise of standard deviation one moves the state by."""
        return float(np.hypot(np.linalg.norm(self.to_coefficients), np.linalg.norm(self.to_update)))

    def estimate(self, data: Any) -> StateEstimate:
        """Return the states for data (k,) or (M, k). Cost: (N + k) k for each, and n (N + k) for a full vector.

        Raises ModelError for data of another shape, NaN, or hidden by a mask.
        """
        y = self._data(data)
        c, d = y @ self.to_coefficients.T, y @ self.to_update.T
        rest = y - (c @ self.space.cross.T + d) @ self.space.factor.conj()
        return StateEstimate(c, d, rest, self.basis, self.space.representers)

    def error_bound(self, found: StateEstimate, distance: Any, noise: Any = 0.0) -> np.ndarray:
        """Return bounds (M,) of ||u* - u||_P for data y = C u + noise; the module has formula and proof.

        distance : (M,) or a number, at least the P-distance of u from the reduced space; of u(mu) that is
            ``reduced.solve(mu).bound``
        noise : (M,) or a number, at least the Euclidean norm of the noise

        Raises ModelError for distances or a noise that are negative, NaN or of another number.
        """
        s, count = self.space, len(found)
        far, loud = (_sizes(name, given, count) for name, given in (("distance", distance), ("noise", noise)))
        c, d = (np.linalg.norm(a, axis=1) for a in (found.coefficients, found.update))
        up = 1 + (self.basis.shape[1] + len(s.factor) + 32) * ROUND_OFF
        size = (1 + max(s.eta, s.omega)) ** 0.5 * (c + d) * up
        unit = 16 * (len(s.factor) + self.basis.shape[1] + 8) ** 1.5 * ROUND_OFF
        # what is left of the data, with the rounding of its evaluation, and with what C is away from (D R)^H
        left = np.linalg.norm(found.residuals, axis=1) * up + s.defects * size
        left = left + s.largest * ((s.cross_error + unit * float(np.linalg.norm(s.cross))) * c + (s.omega + unit) * d)
        left = left + unit * np.linalg.norm(found.residuals, axis=1) + s.largest * unit * size
        onto = np.linalg.norm(found.update @ s.cross.conj(), axis=1) * up
        onto = (onto + (s.cross_error + unit * float(np.linalg.norm(s.cross))) * d) / max(1 - s.eta, 0.5) ** 0.5
        bound = (far + (loud + left) / s.smallest) / s.stability + onto / s.stability**2
        return (bound + self._floor(found)) * up

    def error_interval(self, found: StateEstimate, reduced: ReducedModel, mus: Any, noise: Any = 0.0) -> np.ndarray:
        """Return intervals (M, 2) that hold ||u* - u(mu)||_P, for states of the full model at points mus (M, p).

        ||u* - Z gamma||_P is known, and ||u(mu) - Z gamma||_P <= bound; the upper end is that of :meth:`error_bound`
        where it is smaller.

        reduced : the model of these sensors, with its basis

        Raises ModelError for a model of other sensors, or as many points as there are no states.
        """
        if not isinstance(reduced, ReducedModel):
            raise ModelError(f"`reduced` must be the reduced model of these sensors, got a {type(reduced).__name__}")
        s, solution = self.space, reduced.solve(mus)
        gamma, bound = np.asarray(solution.coefficients), np.asarray(solution.bound)
        if (
            gamma.shape != found.coefficients.shape
            or reduced.basis is None
            or not np.array_equal(reduced.basis, self.basis)
        ):
            raise ModelError(
                f"mus must be {len(found)} points, one for each state, and `reduced` the model of these sensors; got "
                f"{len(gamma)} points of a model with N = {gamma.shape[1]}"
            )
        x = found.coefficients - gamma
        cross = 2 * np.sum(x.conj() * (found.update @ s.cross.conj()), axis=1).real
        a, d = np.linalg.norm(x, axis=1), np.linalg.norm(found.update, axis=1)
        square = a**2 + d**2 + cross
        unit = 16 * (len(s.factor) + x.shape[1] + 8) * ROUND_OFF
        off = (max(s.eta, s.omega) + unit) * (a + d) ** 2 + 2 * a * d * s.cross_error
        # gamma itself may be as large as the state, and the difference small
        off_x = 2 * ROUND_OFF * (np.linalg.norm(gamma, axis=1) + np.linalg.norm(found.coefficients, axis=1))
        rest = bound + self._floor(found) + 2 * off_x
        # the true square is within `off` of the computed one and is not negative: at 0 the interval ends
        low = np.sqrt(np.maximum(square - off, 0)) * (1 - unit) - rest
        high = (np.sqrt(np.maximum(square, 0) + off) * (1 + unit) + rest) * (1 + 4 * ROUND_OFF)
        high = np.minimum(high, self.error_bound(found, bound, noise))
        return np.stack([np.maximum(low * (1 - 4 * ROUND_OFF), 0.0), high], axis=1)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
        """Write all of it to one file, without pickle; raise FileExistsError if it is there and not to be replaced."""
        if not overwrite and Path(path).exists():
            raise FileExistsError(f"{os.fspath(path)} exists; pass overwrite=True to replace it")
        s = {f.name: np.asarray(getattr(self.space, f.name)) for f in fields(SensorSpace)}
        maps = {"to_coefficients": self.to_coefficients, "to_update": self.to_update, "basis": self.basis}
        arrays = {f"space/{name}": a for name, a in s.items()} | maps
        write_archive(Path(path), {"kind": KIND, "regularization": self.regularization}, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PBDW:
        """Read what :meth:`save` wrote, with the same bits. Raises FileFormatError for anything else."""
        header, arrays = read_archive(path, KIND)
        try:
            space = SensorSpace(**{f.name: _read(arrays[f"space/{f.name}"]) for f in fields(SensorSpace)})
            made = cls(
                arrays["basis"], space, float(header["regularization"]), arrays["to_coefficients"], arrays["to_update"]
            )
            (n, size), k = made.basis.shape, len(space.factor)
            wanted = [(n, k), (k, k), (k, size), (k,), (size + k,), (size, k), (k, k)]
            given = [space.representers, space.factor, space.cross, space.distances, space.sizes]
            if [a.shape for a in (*given, made.to_coefficients, made.to_update)] != wanted:
                raise ValueError("its arrays do not fit each other")
            for name, array in arrays.items():
                if array.dtype.kind not in ("f" if name in REAL else "fc") or not np.all(np.isfinite(array)):
                    raise ValueError(f"its array {name!r} holds something else than finite numbers")
                if name in REAL and (array.ndim != REAL[name] or np.any(array < 0)):
                    raise ValueError(f"{name!r} is negative, or has shape {array.shape}")
            xi = made.regularization
            if not (space.stability > 0 and 0 < space.smallest <= space.largest and np.isfinite(xi) and xi >= 0):
                raise ValueError("a constant that must be positive is not")
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{os.fspath(path)} is not a complete {KIND}: {error}") from error
        return made

    def _floor(self, found: StateEstimate) -> np.ndarray:
        """Return what V is away from P^{-1} D, and the rounding of the state's own sum, in the P-norm (M,)."""
        sizes = np.abs(np.concatenate([found.coefficients, found.update], axis=1))
        unit = (4 if np.iscomplexobj(found.states[:0]) else 1) * (sizes.shape[1] + 4) * ROUND_OFF
        return (np.abs(found.update) @ self.space.distances + unit * (sizes @ self.space.sizes)) * (1 + 4 * unit)

    def _data(self, data: Any) -> np.ndarray:
        y, k = finite_numbers("data", data), len(self.space.factor)
        if y.ndim not in (1, 2) or y.shape[-1] != k or not y.size:
            hint = "; transpose them" if y.ndim == 2 and y.shape[0] == k else ""
            raise ModelError(f"data have shape {y.shape}, expected ({k},) or (M, {k}) for {k} sensors{hint}")
        return np.atleast_2d(y)

    def __repr__(self) -> str:
        n, size = self.basis.shape
        xi = f", xi = {self.regularization:g}" if self.regularization else ""
        return (
            f"PBDW({len(self.space.factor)} sensors, N = {size} for {n} unknowns{xi}, beta >= {self.stability:.3g}, "
            f"noise gain {self.noise_gain:.3g})"
        )


def pbdw(reduced: ReducedModel, sensors: Any, *, regularization: float = 0.0, product: Any = None) -> PBDW:
    """Return what estimates states from sensors, with its certified inf-sup constant.

    sensors : numbers (k,) of unknowns, or a matrix C (k, n): C u is what is read, k >= N
    regularization : xi >= 0; 0 for exact data. For noise of standard deviation sigma and updates of which a P-norm of
        about s is expected xi = (sigma / s)^2 balances both; the error bound holds for every xi
    product : P (n, n), if the model does not hold it

    Raises ModelError for a model without its basis or product; for sensors that are none, too few, dependent, or that
    do not see all of the space; for a xi that is negative.
    Cost: 4 k solves with P; memory 2 n k numbers.

    Source: Maday, Patera, Penn, Yano, Int. J. Numer. Methods Eng. 102 (2015) 933-965.

    Examples
    --------
    >>> import numpy as np, rbm
    >>> k = np.diag([1.0, 2.0, 3.0, 4.0])
    >>> model = rbm.FullOrderModel([(1.0, k), ("mu", np.eye(4))], [(1.0, np.ones(4))], k, {"mu": (0.1, 10.0)}, 1.0)
    >>> reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=2).reduced_model
    >>> seen = pbdw(reduced, [0, 1, 3], product=k)
    >>> u = 2.0 * reduced.basis[:, 0] - reduced.basis[:, 1]
    >>> bool(np.allclose(seen.estimate(u[[0, 1, 3]]).states[0], u, rtol=0, atol=1e-14))
    True
    """
    inner = inner_product_of(reduced, product)
    xi = plain_array("regularization", regularization)
    if xi.shape != () or xi.dtype.kind not in "iuf" or not (np.isfinite(xi) and xi >= 0):
        raise ModelError(f"regularization must be a number of at least 0, got {regularization!r}")
    basis = widened(np.asarray(reduced.basis))
    space = sensor_space(basis, sensor_matrix(reduced, sensors), inner)
    k, r = len(space.factor), space.factor
    if xi > 0:
        root = np.linalg.qr(np.concatenate([r, float(xi) ** 0.5 * np.eye(k)]), mode="r")
        white = scipy.linalg.solve_triangular(root, np.eye(k, dtype=r.dtype), trans="C")
        system = white @ (r.conj().T @ space.cross)
        back = r @ scipy.linalg.solve_triangular(root, np.eye(k, dtype=r.dtype))
    else:
        white = np.linalg.inv(r).conj().T  # R is no triangle where Gram-Schmidt postponed a column
        system, back = space.cross, np.eye(k, dtype=r.dtype)
    q, upper = np.linalg.qr(system)
    to_coefficients = scipy.linalg.solve_triangular(upper, q.conj().T @ white)
    to_update = back @ (white - q @ (q.conj().T @ white))
    return PBDW(basis, space, float(xi), to_coefficients, to_update)


def _sizes(name: str, given: Any, count: int) -> np.ndarray:
    made = plain_array(name, given)
    if made.dtype.kind not in "iuf" or made.shape not in ((), (count,)) or np.any(np.isnan(made)) or np.any(made < 0):
        raise ModelError(f"{name} must be numbers of at least 0, one or ({count},), got {given!r:.60}")
    return np.broadcast_to(made.astype(float), (count,))


def _read(array: np.ndarray) -> Any:
    return float(array) if array.ndim == 0 else array
