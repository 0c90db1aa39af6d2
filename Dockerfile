# The pipeline with everything that it needs, of this version.
#
#   docker build --tag pulseq-zero .
#   docker run --rm --volume "$PWD/results:/pulseq-zero/results" pulseq-zero snakemake --cores 8
#
# For clusters, where the workflow finds it (snakemake --sdm apptainer):
#
#   apptainer build pulseq-zero.sif docker-daemon:pulseq-zero:latest
FROM python:3.11-slim

WORKDIR /pulseq-zero
COPY requirements.lock requirements-torch.lock ./
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.lock
# torch without CUDA, which is 4 GB smaller
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    --requirement requirements-torch.lock
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation .
# A workflow that is run from another folder brings its own library along, if it has one
ENV PYTHONPATH=src
CMD ["pulseq-zero", "--help"]
