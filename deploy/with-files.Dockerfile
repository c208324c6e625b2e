# The image with the files that a run reads, so that no worker downloads any: base weights, extractors' weights, data.
#   docker build --file deploy/with-files.Dockerfile --build-arg IMAGE=flowerti:0.1.0 --tag REGISTRY/flowerti:0.1.0 files/
# The folder files/ is yours, for example stable-diffusion-v1-5/, weights-inception-2015-12-05-6726825d.pth,
# torch/hub/checkpoints/resnet50-*.pth and data/flowers-102/; docs/cluster.md has the options that name them.
ARG IMAGE
FROM ${IMAGE}
COPY --chown=ray:ray . /opt/flowerti
# what the Hugging Face Hub would be asked for and is missing stops the run at once; torchvision looks under TORCH_HOME
ENV HF_HUB_OFFLINE=1 \
    TORCH_HOME=/opt/flowerti/torch
