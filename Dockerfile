# syntax=docker/dockerfile:1
# The one image of every node: cluster.yaml, deploy/cluster-gcp.yaml and the KubeRay manifests name it, so that a worker's
# boot is a pull. `docker build --tag flowerti:0.1.0 .`; weights and data come on top (deploy/with-files.Dockerfile).
# For a build that is the same next year name the base by its digest: --build-arg PYTHON=3.11-slim-trixie@sha256:...
ARG PYTHON=3.11-slim-trixie

FROM python:${PYTHON} AS wheel
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY flowerti flowerti
RUN pip install --no-cache-dir --constraint constraints.txt pip \
    && pip wheel --no-deps --build-constraint constraints.txt --wheel-dir /wheels .

FROM python:${PYTHON} AS flowerti
# rsync and ssh: the head's autoscaler reaches workers by them, and files come into a container by rsync; wget: KubeRay's
# probes; gcc: Triton compiles its launchers where a denoiser is compiled
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev openssh-client rsync wget \
    && rm -rf /var/lib/apt/lists/*
# the number of the first user of Ubuntu's machine images: the token's file, which only its owner reads, is theirs
RUN groupadd --gid 1000 ray \
    && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash ray \
    && install --directory --owner=ray --group=ray /home/ray/.ray
# what the project depends on is a layer of its own, some gigabytes, which a change of our code leaves as it is; it goes
# into the system's Python because Ray and KubeRay run login shells, which forget the PATH of a virtual environment
WORKDIR /requirements
COPY constraints.txt pyproject.toml ./
ARG EXTRAS="clouds cluster demo fid"
RUN pip install --no-cache-dir --constraint constraints.txt pip \
    && python -c "import sys, tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *(d for extra in sys.argv[1:] for d in p['optional-dependencies'][extra]), sep='\n')" ${EXTRAS} > requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl
COPY --chown=ray:ray ray_jobs /home/ray/flowerti/ray_jobs
COPY --chown=ray:ray pretraining /home/ray/flowerti/pretraining
# Ray's launcher reads HOME from the image; NVIDIA's runtime reads which of the host's driver libraries to bring in
ENV HOME=/home/ray \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 \
    RAY_AUTH_MODE=token
USER ray
WORKDIR /home/ray/flowerti
# no ENTRYPOINT: Ray's launcher and KubeRay start `bash` and run their commands in it
CMD ["bash"]
