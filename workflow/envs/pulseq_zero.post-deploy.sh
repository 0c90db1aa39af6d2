# Snakemake runs this in the environment it has made: the library itself comes from this checkout.
set -o errexit
python -m pip install --no-deps --editable .
