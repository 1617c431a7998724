"""What the columns of the tables mean, with the limits that the code goes by."""

from __future__ import annotations

from bench import matrix, resources, score_cells, stats, turned, validity
from bench.accuracy import LIMITS
from bench.case import NULL
from bench.measure import (
    SETTLED_WITHIN,
    WARMUP_LEAST_NS,
    WARMUP_MOST_NS,
    WINDOW_LEAST_INFERENCES,
    WINDOW_LEAST_NS,
)
from bench.rows import MOST_LOST
from bench.text import ALONE, AS_AN_AA_PAIR, NOTHING


def how_to_read(judged: bool) -> str:
    """What the columns mean, as Markdown; ``judged``: those of accuracy, too."""
    return _HOW_TO_READ + (f"\n{_ACCURACY}" if judged else "")


_PARITY_LIMITS = ", ".join(
    f"err {limit.max_error:g} ({name})"
    if limit.min_cosine < -1
    else f"below cos {limit.min_cosine:g} ({name})"
    for name, limit in LIMITS.items()
)
_LEAST_SAMPLES = ", ".join(
    f"p{100 * p:g} needs {stats.least_samples(p)}" for p in resources.PERCENTILES
)


def _limit(code: str, limit: validity.Limit) -> str:
    """One code, from when it counts and what it is."""
    if limit.invalid == validity.NEVER:
        return f"`{code}` ({limit.meaning})"
    doubt = f"SUSPECT from {limit.suspect:g}, INVALID from {limit.invalid:g}"
    return f"`{code}` ({limit.meaning}: {doubt})"


_VERDICTS = ", ".join(_limit(code, limit) for code, limit in validity.LIMITS.items())
_VERDICTS += f", `{validity.FEW_SAMPLES}` (fewer than {validity.LEAST_SAMPLES} in all blocks)"
_WARM_UP = f"""\
- Before anything is timed a block is warmed up, none of which enters a percentile: until the
  medians of two windows in a row, of at least {WINDOW_LEAST_INFERENCES} inferences and
  {WINDOW_LEAST_NS / 1e6:g} ms each, differ by at most {100 * SETTLED_WITHIN:g} %,
  for {WARMUP_LEAST_NS / 1e9:g} s at least and {WARMUP_MOST_NS / 1e9:g} s at most."""
_HOW_TO_READ = f"""\
## How to read the tables

- MB is 10^6 bytes. File MB is all that must be shipped. Peak MB is the measuring process's
  peak resident set; in brackets, what importing the runtime alone took.
- Parameters are those stored in the file: an exporter that folds a BatchNorm into its convolution
  leaves fewer than the torch module has. Of untrained networks the biases are zero.
  Files of other formats than .onnx and .pt2 are not taken apart: their parameters are those of the
  network that they were made from. "Rounded to 0" are weights that quantising made zero.
{_WARM_UP}
- Load is the runtime's own reading, parsing and optimising of the file, without importing its
  library; first is the first inference. CPU ms is processor time over all threads for an inference.
- p50 to p99 are nearest-rank percentiles over all inferences of all blocks; a block is a fresh
  process. `{NOTHING}` stands where there are too few samples for a 95 % interval:
  {_LEAST_SAMPLES}.
- Percentiles with intervals: of the median once Student's t over the blocks' medians, and of every
  percentile the two inferences between which it lies by order statistics, whatever the
  distribution. The latter holds for independent inferences: where blocks differ among themselves,
  the interval over blocks is the one to believe.
- Printed digits are what the spread over the blocks supports.
- Speed-up is the reference's time for an image over the row's, block medians paired by round:
  geometric mean and 95 % interval (Student's t over logarithms). "≈1" and "not distinguishable":
  the interval contains 1. {AS_AN_AA_PAIR}: its own interval excludes 1, but the A/A pair above the
  table (one row measured twice under two names) leaves as large a difference open between two
  measurements of the same, so that it proves nothing. {ALONE}: told from 1 by its own interval,
  but not when all claims of its kind are held to 5 % together (Holm's method): the
  speed-ups of a family's table, or the ratios of INT8 against the best fp32 in a run. Sentences
  that say why rows are so fast name only such as hold together.
- Verdict is whether the numbers of a row can be believed, by its worst block:
  {_VERDICTS}.
  What the host cannot tell speaks neither way. The limits are held against quiet and disturbed
  blocks in [results/method](method/README.md).
- A cold start is import of the library, reading the file (from the page cache), the runtime's own
  parsing, optimising and pre-packing, and the first inference: times that follow one another
  without a gap (of the block whose whole is the middle one). The runtime reads the file once more
  while it parses; the start of the interpreter is not part of it. "From disk, once" is no part of
  the whole: reading in one more child of one round, the file's pages dropped before
  (posix_fadvise) and seen to be gone (mincore). One child has no interval, and nothing is derived
  from it. "Pays after" is how many images it takes until a slower start than the
  reference's is made up for; "until": it is ahead only so far.
- A second worker costs what is resident less the clean pages of files, which both would share (the
  sum of two workers' PSS grows by this). Idle CPU is processor time in the second after the last
  inference: what a thread pool spins away, watched once for each runtime, recipe and
  number of threads of a family and shown on every row of these.
- "% of attainable" is the least time that this host needs over the measured p50. The least time is
  the sum over the layers of the longer of two: the multiply-accumulates at the host's peak in the
  layer's precision, and weights, input and output at its read bandwidth. Peaks are measured with
  the same number of threads before a run and, in newer ones, again behind it, of which the larger
  figure counts: matrix products in the fastest of ort and OpenVINO, and reading an array larger
  than the caches. More than 100 is possible: a convolution may keep the units busier than these
  products do, Winograd's algorithm (ncnn, MNN) needs fewer multiplications for a 3x3 convolution
  than are counted, and what a cache keeps from one inference to the next is read faster than from
  memory.
- Parity compares the outputs for real images with those of the fp32 torch module (of a file that
  was given: with its own, by ONNX Runtime without any optimisation): err is the
  largest error over the largest output, cos the cosine after the mean output was subtracted.
  It fails beyond {_PARITY_LIMITS}; top-1 is how often the first answer is the same. Where a table
  has no column for it, `WRONG` stands behind a row that failed.
- The best p50 and the smallest file of a table are in bold, where it has accuracy those of the rows
  not seen to lose more than {MOST_LOST} point of top-1 to their own network in fp32, or to the one
  that this was made from. `{NULL}` answers a constant: its row is the harness's own overhead.
- Plots are made from the same rows as the tables, of one setting of threads and batch size unless
  they are about these; bars are 95 % intervals, and below each plot stand its host, its date and n.
  A row that is INVALID or whose answers are wrong is drawn hollow or left out. Each plot is a file
  beside the page, drawn by matplotlib (extra `plots`); without that it is missing."""


_ACCURACY = f"""\
- Top-1 % is how often the answer is right, over all images of the split that the run names, by the
  same runtime, session options and preprocessing that are timed; ~: over the few that the timed
  session itself was asked about. Its interval is Clopper and Pearson's, exact for a share.
  Precision, recall (P, R) and F1 are scikit-learn's, a share of nothing being 0. F1 by class is
  that of the reference, of the smallest file and of the fastest row: the two that are in bold.
- `{matrix.LOSES}` behind a time in a matrix: the row is not WRONG, but was seen to lose more than
  {MOST_LOST} point of top-1 to its own network in fp32, or to the one that this was made from: it
  is never in bold, however fast. The matrix of top-1 says by how much.
- "vs fp32 parent" is the row's accuracy less that of the fp32 row of the same variant and weights
  (in the same runtime if measured, else in ort; of an fp32 row: in ort), in points, with the 95 %
  interval of a difference of paired shares (Tango 1998). {score_cells.WORSE} and
  {score_cells.BETTER}: McNemar's exact test of the images that turned wrong against those that
  turned right tells it from none, all rows of the table held to 5 % together (Holm's method).
- "Could have shown a drop of": the smallest true loss that McNemar's test would have found
  significant at 5 % with a chance of {100 * turned.POWER:g} %, with as many images and as many of
  them told apart as there were (Duffy 1984). A smaller loss may well be there."""
