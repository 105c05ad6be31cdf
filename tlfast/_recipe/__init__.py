"""The recipe: what a model file says of its training, so that it can be done again, bit by bit.

The decisions behind it:

- **Contents, not names.** Whatever went into a training is named by the hash of its content:
  image files, arrays, start values. `tlfast reproduce` looks through what it is given (--data,
  --arrays, --start, the pretrained files on the machine) for contents with these hashes and puts
  them into the recorded order. So a recipe holds no path and no file name, and moved or renamed
  images are found.
- **What is recorded.** A list of fits; the record travels with the model, so a file that is loaded
  and trained on continues the list. Of each fit: what `compile` was given, the optimizer beside it
  (rate now, factors per layer), flags of the layers, which of them compute in bfloat16, seeds of
  the random layers, the arguments of `fit`, the chain of the data with the place of its random
  streams, the early stopping, the learning rate of every epoch as a number (so a scheduler's
  function, ReduceLROnPlateau or a callback of the user's that sets rates need not be called again),
  and what bits depend on: version, oneDNN and its instruction set, threads, `set_exact`, NumPy.
- **Start values.** Weights are hashed before the first fit, and before a later one if they are
  not what the one before left. A weight is made again from the seed that its initializer drew,
  found in a pretrained file by its hash, or taken from the model file itself where it is frozen;
  the rest is to be given with --start. An optimizer begins anew, or goes on from the fit before:
  then its step counter is the one that fit ended with.
- **Random numbers.** Streams are recorded where they stand, not as the seed and what was drawn
  since: the states of Python's and NumPy's generators (2.5 KB each) where an ImageDataGenerator
  or a shuffle draws from them; key and place of the stream of each `shuffle` of a dataset.
- **What cannot be recorded** is said in the fit's "reasons": a function of the user's in map() or
  as a loss, a generator, a PyDataset. "notes" are what was left out and may or may not matter:
  callbacks of the user's.
- **Way-marks.** The hash of all weights that training moves, after steps 1, 2, 4, 8, ... of the
  first epoch of a fit and after every epoch, with the logs. They say where a repetition leaves
  the path.
- **Cost.** Each mark reads the moved weights once (SHA-256: 1.8 GB/s on Zen 4, twice as fast as
  BLAKE2b, since the CPU has instructions for it); frozen ones are read once in a process, since a
  variable counts its changes. Image files are read and hashed once for each dataset, in one
  thread of lowest priority beside the training: 10,000 files of 100 KB are 1 GB and take about a
  second, and the loader, which reads them too, finds them in memory. Only saving waits for it.
- **Size.** 8 bytes (11 characters) for each file, weight and mark, and 5 characters for a label:
  1.6 MB for 100,000 files. From MAX_FILES on, only counts and one hash per class are kept and the
  recipe says that it cannot be followed. 64 bits tell files apart that are not made to collide;
  the whole list has a hash of 128.
- **Trust.** A recipe is data from a file: it is checked against a schema with caps (`_schema`),
  names in it choose from fixed tables, nothing is imported or run because a file names it, and
  what it asks for (epochs, steps) is printed before training begins.
"""
