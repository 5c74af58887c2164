#!/usr/bin/env bash
# A small DeepLabV3+ for a CPU: the exported configuration with a randomly initialised ResNet-18, narrow heads, small
# crops and 40 iterations. It takes minutes and tests the setup; it is far too short to train the network.
#
#     PYTHON=venv/bin/python ./run.sh EXPORT WORK_DIR
set -euo pipefail
"${PYTHON:-python}" "$(dirname "$0")/train.py" "$1/deeplabv3plus.py" --work-dir "$2" --cfg-options \
    model.pretrained=None model.backbone.depth=18 \
    model.decode_head.in_channels=512 model.decode_head.channels=128 \
    model.decode_head.c1_in_channels=64 model.decode_head.c1_channels=12 \
    model.auxiliary_head.in_channels=256 model.auxiliary_head.channels=64 \
    model.data_preprocessor.size='(128,128)' \
    train_dataloader.dataset.pipeline.2.scale='(160,160)' \
    train_dataloader.dataset.pipeline.3.crop_size='(128,128)' \
    val_dataloader.dataset.pipeline.1.scale='(160,160)' \
    train_dataloader.num_workers=0 train_dataloader.persistent_workers=False \
    val_dataloader.num_workers=0 val_dataloader.persistent_workers=False \
    train_cfg.max_iters=40 train_cfg.val_interval=40 \
    default_hooks.checkpoint.interval=40 default_hooks.logger.interval=10
