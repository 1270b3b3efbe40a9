"""ONNX: fitted models as files for ONNX Runtime and other programs (extra ``onnx``: onnx, Apache-2.0, and onnxruntime, MIT)."""
