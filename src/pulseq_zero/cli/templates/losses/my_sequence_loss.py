"""What makes an image of my_sequence good: the lower the loss, the better."""

from pulseq_zero.optimization.losses import LossContext, LossFunction


def t2_contrast(
    context: LossContext, bright: str = "csf", dark: str = "brain", share: float = 0.9
) -> LossFunction:
    """Contrast by T2: fluid, whose T2 is long, bright before tissue, whose T2 is short.

    This is a *loss maker*. It is called once, with the context and with the experiment's
    ``loss.settings``, and returns the loss function, which is called in every iteration.

    Parameters
    ----------
    context
        ``context.region(name, share)`` are the pixels (x, y) of a region of the phantom; the
        default brain has csf, gm, wm and brain. ``context.start_image`` is the image at the
        start values, ``context.phantom`` the phantom.
    bright, dark
        Names of the regions.
    share
        Share of a pixel that must lie in the region for the pixel to count.
    """
    is_bright, is_dark = context.region(bright, share), context.region(dark, share)

    def loss(parameters, image):
        # ``image`` is a complex torch tensor (x, y), ``parameters["TE"]`` a torch tensor, too.
        # Stay within torch: float(), .item() and NumPy cut the gradient off.
        magnitude = image.abs()
        # Named terms are summed, and each has its own column in the history.
        return {
            bright: -magnitude[is_bright].mean(),
            dark: magnitude[is_dark].mean(),
        }

    return loss
