"""The experiments of the package, each with a command: `numrnn mnist`, `numrnn figure jacobian`, ...

    mnist.py, cifar10.py    which images, how they become sequences, and what suits each cell
    train.py, predict.py    sequences of one's own, from a file
    speakers.py             Japanese Vowels
    tasks.py                adding.py and copying.py, whose sequences are drawn
    config.py               what can be set, with help, range and default; presets/ has files of values
    training_command.py     what every command that trains shares: presets, configuration, --resume
    classification.py       training and test on images; builders.py makes the parts, pictures.py draws
    sequence_command.py     training and test on sequences
    sweep.py                search for settings; trials.py says what is tried, workers.py where, sweep_report.py draws
    demo.py                 both cells for the same time
    figures/                the paper's figures, and three more
    command_line.py         options from configurations, and errors as one line

An experiment runs from Python too: `mnist.run(mnist.make_config("gated", data="embedded"))`. Nothing else in numrnn
imports this package; only the command does.
"""
