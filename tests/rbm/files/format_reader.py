"""A reader of .rbm files written from docs/rbm-format.md alone: it imports nothing of the packages."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from typing import Any

import numpy as np

__all__ = ["answer", "decoded", "march", "members", "model"]

U = 2.0**-53


def members(blob: bytes) -> dict[str, bytes]:
    """Return {name: content} of an archive, section 1."""
    end = blob[-22:]
    assert end[:4] == b"PK\x05\x06"
    (count,), (at,) = struct.unpack_from("<H", end, 10), struct.unpack_from("<I", end, 16)
    found = {}
    for _ in range(count):
        assert blob[at : at + 4] == b"PK\x01\x02"
        (method,), (size,) = struct.unpack_from("<H", blob, at + 10), struct.unpack_from("<I", blob, at + 20)
        name, extra, comment = struct.unpack_from("<HHH", blob, at + 28)
        (place,) = struct.unpack_from("<I", blob, at + 42)
        assert method == 0
        assert blob[place : place + 4] == b"PK\x03\x04"
        begin = place + 30 + sum(struct.unpack_from("<HH", blob, place + 26))
        found[blob[at + 46 : at + 46 + name].decode("ascii")] = blob[begin : begin + size]
        at += 46 + name + extra + comment
    return found


def array(blob: bytes) -> np.ndarray:
    """Return the array of a member, section 2."""
    assert blob[:8] == b"\x93NUMPY\x01\x00"
    (length,) = struct.unpack_from("<H", blob, 8)
    text = blob[10 : 10 + length].decode("ascii")
    about = json.loads(
        text.replace("'", '"').replace("(", "[").replace(",)", "]").replace(")", "]")
        .replace("False", "false").replace("True", "true").replace(", }", "}")
    )  # fmt: skip
    flat = np.frombuffer(blob, dtype=about["descr"], offset=10 + length)
    return flat.reshape(about["shape"], order="F" if about["fortran_order"] else "C")


def model(blob: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays of a file, all checksums compared, section 3."""
    found = members(blob)
    header = json.loads(found.pop("header.json"))
    assert (header["format"], header["version"]) == ("rbm-toolkit", 1)
    assert {f"{name}.npy" for name in header["sha256"]} == set(found)
    for name, digest in header["sha256"].items():
        assert hashlib.sha256(found[f"{name}.npy"]).hexdigest() == digest
    rest = {k: v for k, v in header.items() if k != "header_sha256"}
    assert hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest() == header["header_sha256"]
    return header, {name: array(found[f"{name}.npy"]) for name in header["sha256"]}


def coefficients(header: dict[str, Any], sources: list[Any], mu: np.ndarray) -> np.ndarray:
    """Return the values (Q,) of coefficients; formulas by Python's own precedence, which the page refers to."""
    import cmath

    names: dict[str, Any] = dict(zip(header["parameters"]["ranges"], map(float, mu), strict=True))
    names |= {f: getattr(cmath, f) for f in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "pi")}
    names |= {"abs": abs, "real": lambda z: z.real, "imag": lambda z: z.imag, "conj": lambda z: z.conjugate()}

    def value(source: Any) -> complex:
        if isinstance(source, list):
            return complex(*source)
        return evaluate(source, names) if isinstance(source, str) else source

    found = np.array([value(s) for s in sources])
    return found if np.iscomplexobj(found) and np.any(found.imag) else found.real


def evaluate(text: str, names: dict[str, Any]) -> complex:
    """Return the value of a formula, by a walk over its syntax tree."""
    import ast
    import operator

    binary = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
    binary[ast.Pow] = operator.pow

    def walk(node: Any) -> Any:
        if isinstance(node, ast.BinOp):
            return binary[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.UnaryOp):
            return -walk(node.operand) if isinstance(node.op, ast.USub) else walk(node.operand)
        if isinstance(node, ast.Call):
            return names[node.func.id](*map(walk, node.args))
        return names[node.id] if isinstance(node, ast.Name) else node.value

    return walk(ast.parse(text, mode="eval").body)


def answer(header: dict[str, Any], arrays: dict[str, np.ndarray], mu: np.ndarray) -> dict[str, Any]:
    """Return gamma, value, floor, beta, bound and outputs at a point, sections 4 to 8."""
    if header["kind"] == "partitioned model":
        return answer(*leaf(header, arrays, mu), mu)
    arrays = arrays | {
        name: decoded(arrays, f"matrices/{name}/").reshape(shape) for name, shape in header.get("matrices", {}).items()
    }
    theta = coefficients(header, header["operator_coefficients"], mu)
    phi = coefficients(header, header["rhs_coefficients"], mu)
    matrix, right = np.tensordot(theta, arrays["operators"], 1), phi @ arrays["rhs"]
    solve = np.linalg.solve if header["projection"] == "galerkin" else lambda a, b: np.linalg.lstsq(a, b)[0]
    gamma = solve(matrix, right)
    c = np.concatenate([phi, -(gamma[:, None] * theta).ravel()])
    value, floor = residual_norm(arrays, c)
    beta = stability(header, arrays, theta, mu)
    made = {
        "gamma": gamma,
        "value": value,
        "floor": floor,
        "beta": beta,
        "bound": (value + floor) / beta,
        "outputs": {},
    }
    for k, entry in enumerate(header["outputs"]):
        if entry["kind"] in ("linear", "compliant"):
            of = {name: arrays[f"outputs/{k}/{name}"] for name in ("vectors", "dual", "defects", "rounding")}
            psi = coefficients(header, entry["sources"]["coefficients"], mu)
            norm = np.linalg.norm(of["dual"] @ psi) + abs(psi) @ of["defects"]
            size = of["rounding"] + 3 * (len(gamma) + len(psi) + 4) * U * abs(of["vectors"])
            made["outputs"][entry["name"]] = (
                psi @ of["vectors"] @ gamma, norm * made["bound"] + abs(psi) @ size @ abs(gamma)
            )  # fmt: skip
    if "basis" in arrays:
        made["u"] = arrays["basis"] @ gamma
    if "coded" in header:
        d = arrays["coded/rotation"].conj().T @ gamma
        made["u"] = (decoded(arrays, "coded/codes/").T @ d) * 2.0 ** arrays["coded/exponents"].astype(float)
        r, w = arrays["coded/factor"], abs(arrays["coded/rotation"])
        e = 8 * (len(r) + len(gamma) + 4) * U
        made["moved"] = (
            (1 + arrays["coded/orthogonality"]) * np.linalg.norm(r @ d) + arrays["coded/defects"] @ abs(d)
            + arrays["coded/skew"] * np.linalg.norm(gamma) + e * arrays["coded/norms"] @ (abs(d) + w.T @ abs(gamma))
        )  # fmt: skip
    return made


def residual_norm(arrays: dict[str, np.ndarray], c: np.ndarray) -> tuple[float, float]:
    """Return value and floor of section 4."""
    factor, norms, defects, off = (
        arrays[f"estimators/orthonormal/{name}"] for name in ("factor", "norms", "defects", "orthogonality")
    )
    s = 3 if np.iscomplexobj(factor) or np.iscomplexobj(c) else 1
    e, rows = s * (len(c) + 4) * U, len(factor)
    weights = (1 + e) * (2 * defects + e * norms)
    value = float(np.linalg.norm(factor @ c))
    lost = 2e-154 * math.sqrt(rows) + 1e-307 * (norms.sum() + len(c))
    return value, float(weights @ abs(c) + (2 * off + s * (rows + 4) * U) * value + lost)


def stability(header: dict[str, Any], arrays: dict[str, np.ndarray], theta: np.ndarray, mu: np.ndarray) -> float:
    """Return beta of section 5."""
    kind = header["stability"]["kind"]
    of = {name.removeprefix("stability/"): a for name, a in arrays.items() if name.startswith("stability/")}
    if kind == "coefficient":
        return float(coefficients(header, header["stability"]["sources"]["coefficient"], mu)[0])
    if kind == "min-theta":
        there = np.isfinite(of["reference"])
        least = (theta[there] / of["reference"][there]).min()
        return float((1 - 8 * U) * of["constant"] * least - of["slack"] @ abs(theta))
    if kind == "pencil":
        a, b = theta @ of["alphas"], theta @ of["kappas"]
        nearest = -(a * np.conj(b)).real / abs(b) ** 2 if b else 0.0
        rest = abs(a + b * np.clip(nearest, *of["rest"]))
        least = min([rest, *(abs(a + b * of["eigenvalues"]) - abs(b) * of["radii"])])
        return float(least - abs(theta) @ of["errors"] - 1e-14 * (abs(a) + abs(b) * abs(of["rest"]).max()))
    assert kind == "anchored"
    best = -math.inf
    for anchor, constant, growth in zip(of["anchors"], of["constants"], of["growths"], strict=True):
        delta = theta - anchor
        plain = abs(delta) @ of["norms"] / constant
        natural = growth * np.linalg.norm(of["transform"] @ delta) + abs(of["remainder"] @ delta).sum() / constant
        best = max(best, constant * (1 - (1 + 1e-8) * min(plain, natural)))
    return best


def leaf(
    header: dict[str, Any], arrays: dict[str, np.ndarray], mu: np.ndarray
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays of the leaf in which a point lies, section 7."""
    at = 0 if len(arrays["tree/axis"]) else -1
    while at >= 0:
        at = int(arrays["tree/below" if mu[arrays["tree/axis"][at]] < arrays["tree/cut"][at] else "tree/above"][at])
    k = -1 - at
    own = {name.removeprefix(f"leaves/{k}/"): a for name, a in arrays.items() if name.startswith(f"leaves/{k}/")}
    return header["leaves"][k], {name: arrays[f"leaves/0/{name}"] for name in header["shared"][k]} | own


def decoded(arrays: dict[str, np.ndarray], prefix: str) -> np.ndarray:
    """Return a quantised array with uniform levels and axis 0, section 8."""
    codes, scales, bits, header = (arrays[prefix + name] for name in ("codes", "scales", "bits", "header"))
    version, levels, axis, group, kind, exponent, *shape = map(int, header)
    assert (version, levels, axis, group) == (1, 0, 0, -1)
    width = math.prod(shape[1:]) * (2 if kind > 1 else 1)
    lines, at = [], 0
    for k, scale in enumerate(scales):
        b = int(bits[k if len(bits) > 1 else 0])
        size = -(-width * b // 8)
        flags = np.unpackbits(codes[at : at + size])[: width * b].reshape(width, b)
        numbers = flags @ (2 ** np.arange(b - 1, -1, -1)) - 2 ** (b - 1) if b else np.zeros(width)
        lines.append(scale * 2.0**exponent * numbers)
        at += size
    assert at == len(codes)
    found = np.array(lines)
    return (found[:, ::2] + 1j * found[:, 1::2] if kind > 1 else found).reshape(shape)


def march(header: dict[str, Any], arrays: dict[str, np.ndarray], mu: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return gamma (K + 1, N) and the bounds without floors (K + 1,), section 9."""
    time, count = header["time"], header["time"]["mass_terms"]
    both = coefficients(header, header["operator_coefficients"], mu)
    theta, weights, phi = both[:-count], both[-count:], coefficients(header, header["rhs_coefficients"], mu)
    stiffness = np.tensordot(theta, arrays["operators"][:-count], 1)
    mass = np.tensordot(weights, arrays["operators"][-count:], 1)
    n, dt, part, triangle = len(mass), time["dt"], time["theta"], arrays["time/triangle"]
    start = coefficients(header, header["initial"], mu)
    last = triangle[:, -len(start) :]
    gamma = [np.linalg.solve(triangle[:n, :n], last[:n]) @ start]
    missed = np.linalg.norm(last[n:] @ start)
    alpha = stability(header, arrays, theta, mu)
    bounds, squares = [missed], 0.0
    for g in arrays["time/control"]:
        d = np.linalg.solve(mass + dt * part * stiffness, dt * (g * (phi @ arrays["rhs"]) - stiffness @ gamma[-1]))
        gamma.append(gamma[-1] + d)
        middle = gamma[-1] - (1 - part) * d
        terms = [np.concatenate([-dt * theta * middle[j], -weights * d[j]]) for j in range(n)]
        c = np.concatenate([dt * g * phi, *terms])
        squares += np.linalg.norm(arrays["estimators/orthonormal/factor"] @ c) ** 2
        bounds.append(math.sqrt(missed**2 + squares / (alpha * dt)))
    return np.array(gamma), np.array(bounds)
