"""Snakemake's command line, to make a report in whose page no text can end a script.

The report holds JSON inside of scripts, and the JSON holds settings of experiments. Where it has
the code of `<`, which means the same, `</script>` in a setting is text.
"""

import json
import sys

from snakemake.cli import main

plain = json.dumps


def dumps(*args, **options):
    return plain(*args, **options).replace("<", "\\u003c")


if __name__ == "__main__":
    json.dumps = dumps
    main(sys.argv[1:])
