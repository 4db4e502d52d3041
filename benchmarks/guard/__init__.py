"""The regression guard: instructions of the core's work, beside those of a stored baseline.

``python -m benchmarks.guard`` counts the rounds of `workloads` and fails when one takes more
than a tenth more instructions than ``baseline.json`` says. It times nothing: a slow or busy
machine counts the same.

**What counts.** callgrind, which executes every instruction of a process itself, those of C
code (numpy, soxr, json) included, to which a count of executed bytecodes is blind. It counts
inside `ffi_call` only, through which `child` has ctypes call each round (``--toggle-collect``):
start-up and preparation fall out. Subtracting N rounds from 2N was tried first; start-up and
rounds together varied by 1.4 %, and each workload had to start twice.

**What keeps it the same**, measured on CPython 3.11:

* The program has no environment but a fixed one (hash seed 0, one BLAS thread), the garbage
  collector is off within a round, event loops run on virtual time, and bytecode is compiled
  before. Six runs of the same program in the same folder then agreed to the instruction.
* Where things lie in memory still matters (dictionaries of objects hash addresses): whether
  bytecode was read or just compiled moved a count by 2.7 %. So each workload is
  counted in several forks of the program, which first put differently many things into memory,
  and the smallest count stands. Four runs, one of them from another folder and with a busy loop
  beside it, were at most 0.4 % apart in 15 of 19 workloads, and 2.2 % in the worst.
* valgrind shows programs no AVX-512, whatever the processor has. One without AVX2 would count
  otherwise.

**What a baseline holds for.** Interpreters of one version differ: Debian's 3.11.2 takes up to
17 % fewer instructions than a 3.11.7 compiled by pyenv, in another workload 1 % more. So a
baseline belongs to a build of Python with its C library and valgrind, and the file holds several.
For a build without one, nothing is compared, and a line says so; ``--required`` makes that an
error. Where the packages are others, which are pinned, the guard fails: such a baseline proves
nothing, and wants to be renewed together with what changed the versions.

What it does not see: time that is waited, memory, and the cost of collecting garbage.
"""
