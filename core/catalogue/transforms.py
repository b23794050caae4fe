"""Transforms that augment training data."""

from __future__ import annotations

from affectstream.core.catalogue.entry import Entry

_TRANSFORMS = "affectstream.data_augmentation."

TRANSFORMS: dict[str, Entry] = {
    "noise": Entry(
        _TRANSFORMS + "audio.noise:Noise",
        "white noise at a signal-to-noise ratio",
        stream="audio",
    ),
    "speed": Entry(
        _TRANSFORMS + "audio.speed:Speed",
        "tempo and pitch together",
        source="Ko et al. 2015",
        stream="audio",
    ),
    "time_stretch": Entry(
        _TRANSFORMS + "audio.time_stretch:TimeStretch",
        "tempo at the same pitch; about 2 ms a second of sound",
        source="Verhelst & Roelands 1993",
        stream="audio",
    ),
    "pitch_shift": Entry(
        _TRANSFORMS + "audio.pitch_shift:PitchShift",
        "pitch at the same tempo; about 2 ms a second of sound",
        source="Verhelst & Roelands 1993",
        stream="audio",
    ),
    "time_shift": Entry(
        _TRANSFORMS + "audio.time_shift:TimeShift", "earlier or later", stream="audio"
    ),
    "gain": Entry(_TRANSFORMS + "audio.gain:Gain", "louder or softer", stream="audio"),
    "bandwidth": Entry(
        _TRANSFORMS + "audio.bandwidth:Bandwidth",
        "low-pass at a random cut-off, as on the telephone",
        stream="audio",
    ),
    "spec_augment": Entry(
        _TRANSFORMS + "spectrogram.spec_augment:SpecAugment",
        "masks of frequency and time, in the model",
        source="Park et al. 2019",
        stream="features",
    ),
    "vtlp": Entry(
        _TRANSFORMS + "spectrogram.vtlp:Vtlp",
        "vocal tracts of other lengths, in the model",
        source="Jaitly & Hinton 2013",
        stream="features",
    ),
    "mix_style": Entry(
        _TRANSFORMS + "spectrogram.mix_style:MixStyle",
        "each band's level and spread blended with another clip's, in the model",
        source="Zhou et al. 2021; Kim et al. 2022",
        stream="features",
    ),
    "flip": Entry(_TRANSFORMS + "image.flip:Flip", "horizontal mirror image", stream="video"),
    "crop_jitter": Entry(
        _TRANSFORMS + "image.crop_jitter:CropJitter",
        "zoom and shift of the face crop",
        stream="video",
    ),
    "brightness": Entry(
        _TRANSFORMS + "image.brightness:Brightness", "brightness and contrast", stream="video"
    ),
    "cutout": Entry(
        _TRANSFORMS + "image.cutout:Cutout",
        "a rectangle hidden",
        source="DeVries & Taylor 2017",
        stream="video",
    ),
    "downscale": Entry(
        _TRANSFORMS + "image.downscale:Downscale", "lower image resolution", stream="video"
    ),
    "jpeg": Entry(
        _TRANSFORMS + "image.jpeg:Jpeg",
        "JPEG compression artefacts",
        source="ITU-T T.81",
        stream="video",
    ),
    "word_dropout": Entry(
        _TRANSFORMS + "text.word_dropout:WordDropout",
        "words left out",
        source="Wei & Zou 2019",
        stream="text",
    ),
    "word_swap": Entry(
        _TRANSFORMS + "text.word_swap:WordSwap",
        "two words change places",
        source="Wei & Zou 2019",
        stream="text",
    ),
    "typo": Entry(
        _TRANSFORMS + "text.typo:Typo",
        "slips of the keyboard",
        source="Belinkov & Bisk 2018",
        stream="text",
    ),
    "mixup": Entry(
        _TRANSFORMS + "mixup:Mixup",
        "two clips and their labels blended",
        source="Zhang et al. 2018",
        stream="batch",
    ),
}
