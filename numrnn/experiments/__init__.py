"""The experiments of the package, each with a command: `numrnn mnist`, `numrnn figure jacobian`, ...

    mnist.py, cifar10.py    the images, their encoding as sequences, and settings for each cell
    train.py, predict.py    your own sequences, from a file
    speakers.py             Japanese Vowels
    tasks.py                adding.py and copying.py, whose sequences are drawn
    config.py               settings with help, range and default; presets/ has files of values
    training_command.py     common part of all training commands: presets, configuration, --resume
    classification.py       training and test on images; builders.py makes the parts, pictures.py draws
    sequence_command.py     training and test on sequences
    sweep.py                search for settings; trials.py defines trials, workers.py runs them, sweep_report.py draws
    demo.py                 both cells for the same time
    figures/                the paper's figures, and three more
    command_line.py         options from configurations, and errors as one line

An experiment also runs from Python: `mnist.run(mnist.make_config("gated", data="embedded"))`. For that, `make_config`,
`run` and `main` of the module of a command, and `predict`, are public; all else in this package is internal. Nothing
else in numrnn imports it; only the commands do.
"""
