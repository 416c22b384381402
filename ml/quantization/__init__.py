"""Few bits per number for the weights of PyTorch modules, after training and during it.

post_training.py rounds weights in place, with the quantiser of :mod:`lowrank`; sites.py says which weights there are
and which are tied, memory.py what lies in the same memory, scheme.py holds the options, running.py passes batches and
looks at the layers' inputs, report.py counts bytes. sensitivity.py
measures what rounding a weight costs, allocation.py shares bits out by it. training.py trains with rounded weights and
trained scales. files.py writes and reads; integer_layers.py runs layers from their integers. PyTorch is imported when
a function is called.
"""

from ml.quantization.allocation import allocate_weight_bits
from ml.quantization.files import load_quantized, save_quantized
from ml.quantization.integer_layers import Int8Layer, Int8Report, run_int8
from ml.quantization.post_training import quantize_module
from ml.quantization.report import QuantizationReport
from ml.quantization.scheme import Scheme
from ml.quantization.sensitivity import Gradients, sensitivity
from ml.quantization.training import fake_quantize, freeze_quantized

__all__ = [
    "Gradients", "Int8Layer", "Int8Report", "QuantizationReport", "Scheme", "allocate_weight_bits", "fake_quantize",
    "freeze_quantized", "load_quantized", "quantize_module", "run_int8", "save_quantized", "sensitivity",
]  # fmt: skip
