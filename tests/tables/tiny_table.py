"""A tiny table over runs that are never trained, and the numbers that they would have."""

from __future__ import annotations

from visagent.config.table_schemas import (
    ClaimConfig,
    ColumnConfig,
    FigureConfig,
    MeasureConfig,
    PanelConfig,
    RowConfig,
    ScaleConfig,
    TableConfig,
    TableRootConfig,
)


def make_spec(**changes) -> TableRootConfig:
    """Two rows, two columns, two measures, two panels over the two presets that are quickest to compose."""
    parts = {
        "title": "A <tiny> table_1 & more",
        "paper": "Nobody 2000",
        "place": "Table 9",
        "measures": {
            "rate": MeasureConfig("success rate", "test/{mode}/{room}/success_rate", "max", 0.05),
            "length": MeasureConfig(
                "length",
                "test/{mode}/{room}/average_successful_length",
                "min",
                1.0,
                digits=1,
                reason="no successful episode",
            ),
        },
        "panels": [
            PanelConfig("sampled actions", {"mode": "sampled"}),
            PanelConfig("argmax actions", {"mode": "argmax"}),
        ],
        "columns": [ColumnConfig("Bath.", {"room": "bathroom"}), ColumnConfig("Kitchen", {"room": "kitchen"})],
        "aggregate": "both",
        "rows": [
            RowConfig("cloning", {"preset": "behaviour_cloning"}, paper={"rate": [0.8, 0.5], "length": [10.0, None]}),
            RowConfig(
                "DAgger (1)", {"preset": "dagger"}, ["trainer.max_epochs=2"], {"rate": [0.9, 0.6]}, note="one round"
            ),
        ],
        "overrides": ["experiment=navigation/{preset}"],
        "scales": {
            "smoke": ScaleConfig({}, ["debug=smoke"], [0, 1, 2], "numbers of no meaning"),
            "laptop": ScaleConfig(seeds=[0, 1, 2]),
        },
        "figures": [
            FigureConfig("bars", "tiny", "Rates", measure="rate"),
            FigureConfig("curves", "tiny_curves", "Queries", metric="data/expert_queries", logarithmic=True),
        ],
        "claims": [
            ClaimConfig(
                "DAgger is better",
                "Section 1",
                {"row": "DAgger (1)", "measure": "rate"},
                ">",
                {"row": "cloning", "measure": "rate"},
            ),
        ],
        "deviations": ["All of it."],
    }
    return TableRootConfig(0.95, 1000, 0, TableConfig(**{**parts, **changes}))


def numbers(rate: float, length: float = 12.0) -> dict[str, float]:
    """The metrics of one run, a little different in each place."""
    found = {}
    for shift, mode in enumerate(("sampled", "argmax")):
        for other, room in enumerate(("bathroom", "kitchen")):
            found[f"test/{mode}/{room}/success_rate"] = rate - 0.1 * shift - 0.2 * other
            found[f"test/{mode}/{room}/average_successful_length"] = length + shift + other
    return found
