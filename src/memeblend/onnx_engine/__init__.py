"""Exported models: members as ONNX graphs, run by onnxruntime without torch and transformers.

Notable: only `exporting`, `graphs`, `checking` and `quantizing` may import torch; what predicts does not.
"""
