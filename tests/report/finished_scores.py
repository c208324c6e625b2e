"""The scores of a run in which everything worked, as records; tests change some of them."""

from flowerti.artifacts.scores import (
    Comparison,
    CopyCheck,
    CopyPair,
    CopySensitivity,
    Distance,
    Extractor,
    LearningDistance,
    MatrixRow,
    NameVerdict,
    NearDuplicate,
    Recognition,
    Scores,
    TrainedOnSource,
)

EXTRACTOR = "efficientnet_lite0"
SOURCES = ("raw", "alternative_name", "latin_name", "token")


def class_names(num):
    return tuple(f"species {index:03d}" for index in range(num))


FOURTEEN = class_names(14)


def distance(class_name, source, metric, value, **changed):
    """One number beside a floor of a tenth of it."""
    given = {"class_name": class_name, "source": source, "metric": metric, "value": value, "extractor": EXTRACTOR}
    usual = {"num_real": 40, "num_synthetic": 40, "floor": 0.1 * value, "floor_num_images": 20, "p_value": None}
    return Distance(**usual | given | changed)


def comparison(class_name, closer, than, difference, **changed):
    given = {"class_name": class_name, "closer": closer, "than": than, "difference": difference}
    usual = {
        "extractor": EXTRACTOR,
        "metric": "kernel",
        "p_value": 0.0005,
        "low": difference - 0.2,
        "high": difference + 0.2,
    }
    return Comparison(**usual | given | changed)


def verdict(class_name, said="better_name_is_enough", reference="validation"):
    return NameVerdict(class_name=class_name, verdict=said, reason=f"Numbers of {class_name}.", reference=reference)


def matrix_row(class_name, source, all_names, metric="kernel", extractor=EXTRACTOR):
    """The class after the set's own is the nearest, the own class comes next."""
    own = all_names.index(class_name)
    values = [1.0 + 0.01 * i for i in range(len(all_names))]
    values[own], values[(own + 1) % len(all_names)] = 0.5, 0.25
    return MatrixRow(
        class_name=class_name,
        source=source,
        extractor=extractor,
        metric=metric,
        values=values,
        num_real=[40] * len(all_names),
        num_synthetic=40,
        rank=2,
        nearest=all_names[(own + 1) % len(all_names)],
    )


def recognition(class_name, source, hits=30):
    share = hits / 40
    return Recognition(
        class_name=class_name,
        source=source,
        num_images=40,
        num_recognised=hits,
        share=share,
        low=max(0.0, share - 0.15),
        high=min(1.0, share + 0.11),
        mistaken_for="species 013",
    )


def pair(index, similarity=0.8, correlation=0.4, source="token", is_mirrored=False):
    return CopyPair(
        image=f"synthetic:synthetic/{source}.parquet#{index}",
        train_id=f"train/{index}",
        is_mirrored=is_mirrored,
        similarity=similarity,
        pixel_correlation=correlation,
    )


def copy_check(class_name, source, num_copies=0, num_pairs=20):
    closest = [pair(i, 0.9 - 0.01 * i, 0.95 if i < num_copies else 0.4, source, i == 1) for i in range(num_pairs)]
    return CopyCheck(
        class_name=class_name,
        source=source,
        extractor=EXTRACTOR,
        num_images=40,
        num_compared=1136,
        similarity_limit=0.87,
        correlation_limit=0.92,
        copies=closest[:num_copies],
        closest=closest,
        p_value=0.31,
    )


def planted(kind, num_found=100):
    share = num_found / 100
    low, high = max(0.0, share - 0.06), min(1.0, share + 0.03)
    return CopySensitivity(kind=kind, num_images=100, num_found=num_found, share=share, low=low, high=high)


def near_duplicate(index=0, **changed):
    usual = {
        "first_id": f"image_{index:05d}.jpg",
        "first_split": "train",
        "first_class": "species 004",
        "second_id": f"image_{index + 500:05d}.jpg",
        "second_split": "test",
        "second_class": "species 004",
        "is_identical": index < 3,
        "is_mirrored": index == 3,
        "pixel_correlation": 1.0 - 0.01 * index,
    }
    return NearDuplicate(**usual | changed)


def scores(names, sources=SOURCES, all_names=None, reference="validation"):
    """Scores of the classes `names`, in which the other name is enough for each."""
    all_names = list(all_names or FOURTEEN)
    values = dict(zip(SOURCES, (1.9, 1.4, 1.6, 0.8), strict=True))
    named = {"reference": reference}
    distances = []
    for name in names:
        for source in sources:
            value = values[source]
            distances += [
                distance(name, source, "frechet", 100 * value, floor=21.0, **named),
                distance(
                    name,
                    source,
                    "kernel",
                    value,
                    floor=0.21,
                    p_value=0.0005,
                    low=value - 0.3,
                    high=value + 0.3,
                    **named,
                ),
                distance(name, source, "vendi_ratio", 0.6, floor=1.01, num_real=20, num_synthetic=20, **named),
                distance(name, source, "image_similarity", 0.55, floor=0.71, **named),
            ]
            distances += [
                distance(name, source, metric, 0.45, num_real=20, num_synthetic=20, **named)
                for metric in ("precision", "recall", "density", "coverage")
            ]
    comparisons = [
        comparison(name, closer, than, difference, p_value=p, **named)
        for name in names
        for closer, than, difference, p in (
            ("token", "raw", 1.1, 0.0005),
            ("token", "alternative_name", -0.04, 0.6),
            ("token", "latin_name", 0.8, 0.001),
            ("alternative_name", "raw", 0.5, 0.0015),
            ("latin_name", "raw", 0.3, 0.04),
        )
        if {closer, than} <= set(sources)
    ]
    sets = [(name, source) for name in names for source in sources]
    return Scores(
        extractors=[Extractor(name=EXTRACTOR, weights_sha256="a" * 64, input_size_px=128)],
        class_names=all_names,
        distances=distances,
        learning_distances=[
            LearningDistance(
                class_name=FOURTEEN[0],
                source="token",
                extractor="efficientnet_lite0",
                reference="test",
                learnings=[0, 1, 2],
                values=[0.31, 0.35, 0.29],
                std=0.03055,
            )
        ],
        comparisons=comparisons,
        matrix=[
            matrix_row(name, source, all_names, metric)
            for metric in ("kernel", "frechet")
            for name in names
            for source in ("real", *sources)
        ],
        recognition=[recognition(name, source) for name in names for source in ("real", *sources)],
        trained_on_source=[
            TrainedOnSource(
                source=source,
                class_names=list(names),
                num_per_class=8,
                num_seeds=5,
                accuracy=0.612,
                low=0.541,
                high=0.689,
            )
            for source in ("real", *sources)
        ],
        copies=[copy_check(name, source) for name, source in sets],
        copy_sensitivity=[planted("mirror"), planted("crop 5 %", 97), planted("grey", 99)],
        near_duplicates=[],
        verdicts=[verdict(name, reference=reference) for name in names] if "token" in sources else [],
    )


EMPTY_SCORES = Scores(extractors=[], class_names=list(FOURTEEN), distances=[], comparisons=[])
