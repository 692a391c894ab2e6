"""What goes beyond the papers, each in a file of its own, none of them known to model.py.

| file | what it adds | where it enters |
|---|---|---|
| mixture.py | a prior of several components | `Generator.prior` |
| categories.py | a choice of what to draw, where no caption says it | the conditioner |
| layers.py | a video drawn one thing on top of the other | a subclass of `SyncDraw` |
| refinement.py | Q of each video, improved by gradient steps | `SyncDraw.forward(adjust=...)` |
| continuing.py | videos that go on after their last frame | after drawing |
| held_gradients.py | no video may drown the gradient of the others | hooks, in training |
| clustering.py | where mixtures and categories begin | before training |
"""
