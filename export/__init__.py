"""Make the files that are measured: variants, weights, ONNX, quantisation."""

import os

# ONNX Runtime (1.29 and later) writes a device id into the user's cache folder and sends
# reports of models and errors. Somebody's model is their own, and a thread that uploads has
# no place beside a measurement. It has to be set before the import, so it stands in the
# package that every other one imports, and children inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
