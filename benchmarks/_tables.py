"""Make the tables of README and docs from ``results/``; run by `make bench` after measuring.

A table stands between ``<!-- figures: NAME -->`` and ``<!-- end -->``, where NAME is a result.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
PAGES = (
    HERE.parent / "README.md",
    *(
        DOCS / f"{name}.md"
        for name in (
            "flash-wear",
            "reboot-drift",
            "placement",
            "service",
            "exhaustion",
            "feedback",
            "incidents",
            "logs",
            "normality",
        )
    ),
)
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = tuple[str, str]
"""What a figure is, and its name in the result."""

VIEWS = ("level", "jump", "shift", "roughness", "residual", "season", "gap", "cohort", "drift")

TABLES: dict[str, tuple[Row, ...]] = {
    "incidents": (
        ("incidents of several devices, in a storm of 10,000 findings", "incidents_of_storm"),
        ("time to group it, s", "storm_s"),
        ("three causes at once: Rand index", "rand_index"),
        ("its standard error", "rand_index_se"),
        ("adjusted Rand index", "adjusted_rand_index"),
        ("half of a site under one rule: adjusted Rand index", "adjusted_rand_index_site_storms"),
        ("grouped by rule and site: adjusted Rand index", "adjusted_rand_index_by_rule_and_site"),
        ("grouped by rule: adjusted Rand index", "adjusted_rand_index_by_rule"),
        ("one cause: blame right", "blame_right"),
        ("its standard error", "blame_right_se"),
        ("attributes shuffled: nothing blamed", "blame_on_noise"),
        ("its standard error", "blame_on_noise_se"),
    ),
    "feedback": (
        ("share of findings worth acting on", "worth_share_20"),
        ("precision at 80 % recall, in the order of scores", "precision_by_score_20"),
        ("in the order of the model, 20 labels", "precision_by_labels_20"),
        ("gained by 20 labels", "gain_20"),
        ("its standard error", "gain_20_se"),
        ("the same labels, shuffled", "precision_shuffled_20"),
        ("the same labels, scikit-learn's logistic regression in one batch", "precision_batch_20"),
        ("gained by 100 labels", "gain_100"),
        ("its standard error", "gain_100_se"),
        ("scikit-learn in one batch, 100 labels", "precision_batch_100"),
        ("in the order of the model, 100 labels", "precision_by_labels_100"),
        ("held, 20 labels, share of findings", "held_share_20"),
        ("of those worth acting on", "held_of_worth_20"),
        ("held, 100 labels, share of findings", "held_share_100"),
        ("of those worth acting on", "held_of_worth_100"),
    ),
    "logs": (
        ("grouping accuracy, mean of eight systems", "grouping_accuracy"),
        ("of the four it was chosen on", "grouping_accuracy_chosen_on"),
        ("of the four held out", "grouping_accuracy_held_out"),
        ("published Drain, settings for each system", "grouping_accuracy_published_drain"),
        ("of the same four held out", "grouping_accuracy_published_drain_held_out"),
        ("plain Drain, in the same run", "grouping_accuracy_plain_drain"),
        ("Android: ours", "grouping_accuracy_Android"),
        ("published", "published_drain_Android"),
        ("HDFS: ours", "grouping_accuracy_HDFS"),
        ("published", "published_drain_HDFS"),
        ("Linux: ours", "grouping_accuracy_Linux"),
        ("published", "published_drain_Linux"),
        ("Proxifier: ours", "grouping_accuracy_Proxifier"),
        ("published", "published_drain_Proxifier"),
        ("HPC, held out: ours", "grouping_accuracy_HPC"),
        ("published", "published_drain_HPC"),
        ("Hadoop, held out: ours", "grouping_accuracy_Hadoop"),
        ("published", "published_drain_Hadoop"),
        ("OpenSSH, held out: ours", "grouping_accuracy_OpenSSH"),
        ("published", "published_drain_OpenSSH"),
        ("Spark, held out: ours", "grouping_accuracy_Spark"),
        ("published", "published_drain_Spark"),
        ("lines/s on one core, masked forms seen before", "lines_per_s"),
        ("lines/s, met for the first time", "lines_per_s_new"),
        ("lines/s, plain Drain", "lines_per_s_plain_drain"),
        ("lines/s from frame to findings", "lines_per_s_engine"),
    ),
    "speed": (
        ("`Engine.step`, 1,000 devices, rows/s", "step_1000_devices_rows_per_s"),
        ("`Engine.step`, 100,000 devices, rows/s", "step_rows_per_s"),
        ("`Engine.step`, 1,000,000 devices, rows/s", "step_1000000_devices_rows_per_s"),
        ("of that, `normalise`, rows/s", "normalise_100000_devices_rows_per_s"),
        ("of that, `FleetState.admit`, rows/s", "admit_rows_per_s"),
        ("of that, `flash_wear` kernel, rows/s", "flash_wear_update_rows_per_s"),
        ("of that, `flash_failure` kernel, rows/s", "flash_failure_update_rows_per_s"),
        ("of that, `reboot_drift` kernel, rows/s", "reboot_drift_update_rows_per_s"),
        ("of that, `silence` kernel, rows/s", "silence_update_rows_per_s"),
        ("river GaussianScorer, one metric, rows/s", "river_gaussian_rows_per_s"),
        ("river MinMaxScaler and HalfSpaceTrees, rows/s", "river_hst_rows_per_s"),
        ("river HalfSpaceTrees alone, rows/s", "river_hst_bare_rows_per_s"),
        ("`step` over river GaussianScorer", "ratio_river_gaussian"),
        ("`step` over river scaler and HalfSpaceTrees", "ratio_river_hst"),
        ("bytes touched by `step`, share of a memory copy's rate", "copy_fraction"),
        ("state, bytes per device", "state_bytes_per_device"),
    ),
    "wear": (
        ("CRPS over that of the oracle, steps of 10 %, steady workload", "crps_ratio_steps"),
        ("its standard error", "crps_ratio_steps_se"),
        ("the same, over an oracle that sees true wear every week", "crps_ratio_steps_path"),
        ("share of true dates in the 90 % interval", "cover_steps"),
        ("MAE over that of the oracle, moving workload, bytes told", "mae_ratio_drift"),
        ("its standard error", "mae_ratio_drift_se"),
        ("share of true dates in the 90 % interval", "cover_drift"),
        ("SATA drives, next reading: MAE, points", "sata_mae"),
        ("best of persistence, life average, last slope", "sata_mae_best_baseline"),
        ("SATA: RMSE", "sata_rmse"),
        ("its standard error", "sata_rmse_se"),
        ("best of the three", "sata_rmse_best_baseline"),
        ("SATA: CRPS", "sata_crps"),
        ("best of the three", "sata_crps_best_baseline"),
        ("NVMe drives, next reading: MAE, points", "nvme_mae"),
        ("best of the three", "nvme_mae_best_baseline"),
        ("NVMe: RMSE", "nvme_rmse"),
        ("its standard error", "nvme_rmse_se"),
        ("best of the three", "nvme_rmse_best_baseline"),
        ("NVMe: CRPS", "nvme_crps"),
        ("best of the three", "nvme_crps_best_baseline"),
        ("share of next readings in the 90 % interval", "panel_cover"),
        ("crossings of 100 %: precision at recall 0.80", "crossing_precision_at_recall_80"),
        ("the 80 % rule: recall", "rule80_recall"),
        ("the 80 % rule: precision", "rule80_precision"),
        ("updates/s on one core", "updates_per_s"),
        ("state, bytes per medium", "state_bytes_per_medium"),
    ),
    "exhaustion": (
        ("leaks of 1 % a day found 10 days or more before memory is full", "leak_found"),
        ("its standard error", "leak_found_se"),
        ("days before memory is full, median", "leak_lead_days_median"),
        ("share of true dates in the 90 % interval of the first alert", "leak_cover"),
        ("its standard error", "leak_cover_se"),
        ("heat of 0.1 degrees a day found within 90 days", "heat_found_90d"),
        ("its standard error", "heat_found_90d_se"),
        ("the same, within 60 days", "heat_found_60d"),
        ("neighbours in the same weather that were taken for it", "heat_neighbours_alarmed"),
        ("found within 90 days without neighbours", "heat_found_90d_without_cohort"),
        ("false alarms at a budget of 10: memory without a leak", "false_alarms_memory"),
        ("the same, base jumps every 30 days", "false_alarms_jumps"),
        ("its standard error", "false_alarms_jumps_se"),
        ("the same, noise correlated over six days", "false_alarms_six_days"),
        ("its standard error", "false_alarms_six_days_se"),
        ("the same, over twenty days", "false_alarms_wander"),
        ("the same, weather alone", "false_alarms_weather"),
        ("Netdata's rule: leaks found in time", "netdata_leak_found"),
        ("the same: heat found within 60 days", "netdata_heat_found_60d"),
        ("`predict_linear`, 4 h: leaks found in time", "predict_linear_4h_leak_found"),
        ("the same: heat found within 90 days", "predict_linear_4h_heat_found_90d"),
        ("`predict_linear`, 7 d: leaks found in time", "predict_linear_7d_leak_found"),
        ("the same: heat found within 90 days", "predict_linear_7d_heat_found_90d"),
        ("readings a CPU second, judging included", "readings_per_s"),
        ("the same, every device leaks", "readings_per_s_all_leak"),
        ("state, bytes per device and metric", "bytes_per_device"),
        ("the same, where compared with others", "bytes_per_device_compared"),
    ),
    "reboots": (
        ("one reboot a week, rate known: mean delay over SR's, x1.5", "delay_ratio_x15"),
        ("its standard error", "delay_ratio_x15_se"),
        ("the same, x2", "delay_ratio_x2"),
        ("the same, x3", "delay_ratio_x3"),
        ("the same, x5", "delay_ratio_x5"),
        ("mean run without a change over that of the budget", "arl_ratio"),
        ("its standard error", "arl_ratio_se"),
        ("rate unknown, a year of history: median delay over SR's, x2", "unknown_delay_ratio_x2"),
        ("its standard error", "unknown_delay_ratio_x2_se"),
        ("the same, x3", "unknown_delay_ratio_x3"),
        ("the same, x5", "unknown_delay_ratio_x5"),
        ("mean run over the budget's, worst quarter of the fleet", "arl_ratio_worst_quartile"),
        ("its standard error", "arl_ratio_worst_quartile_se"),
        ("mean run over the budget's, bursts (p = 0.3)", "arl_ratio_bursts_p3"),
        ("the same, p = 0.5", "arl_ratio_bursts_p5"),
        ("the same, weeks that vary (index 1.5)", "arl_ratio_modulated_15"),
        ("the same, index 2", "arl_ratio_modulated_2"),
        ("100,000 devices, 0.5 % rise to x3: false alarms over alarms", "fleet_fdr"),
        ("its standard error", "fleet_fdr_se"),
        ("found within 12 weeks, of those with 0.3 a week or more", "fleet_found_12w"),
        ("its standard error", "fleet_found_12w_se"),
        ("that, over what SR finds that knows both rates", "fleet_found_12w_ratio"),
        ("that, over what the mixture finds that is told rates", "fleet_found_12w_ratio_told"),
        ("without selection: false alarms over alarms", "fleet_unselected_fdr"),
        ("without selection: found within 12 weeks", "fleet_unselected_found_12w"),
        ("that, over what SR finds at that share", "fleet_unselected_found_12w_ratio"),
        ("LANL failures, budget 0.1: alarms a device-year", "lanl_alarms_per_device_year"),
        ("the same, selected", "lanl_alarms_per_device_year_selected"),
        ("the same, shuffled by days", "lanl_alarms_per_device_year_shuffled"),
        ("median weeks to find x3, at one mean run: engine", "engine_median_weeks_x3"),
        ("river ADWIN, looking daily", "adwin_median_weeks_x3"),
        ("its mean run in the busiest quarter, of the budget's", "adwin_arl_ratio_busiest_quarter"),
        ("river PageHinkley", "page_hinkley_median_weeks_x3"),
        ("more than n boots in 28 days", "rule_28d_median_weeks_x3"),
        ("its mean run in the busiest quarter", "rule_28d_arl_ratio_busiest_quarter"),
        ("devices judged in a day, a second on one core", "updates_per_s"),
        ("state, bytes per device", "bytes_per_device"),
    ),
    "detection": (
        ("NAB, lines from other files: standard profile", "nab_heldout"),
        ("its standard error, over files", "nab_heldout_se"),
        ("the profile that punishes false alarms", "nab_heldout_low_fp"),
        ("the profile that punishes misses", "nab_heldout_low_fn"),
        ("without a rest after an alarm", "nab_heldout_no_rest"),
        ("at the line that is best for these files", "nab_best"),
        ("the same rest and lines: a clock", "nab_heldout_clock"),
        ("chance", "nab_heldout_random"),
        ("EWMA z, weight 0.003", "nab_heldout_ewma_003"),
        ("windowed Gaussian, 6,400 rows", "nab_heldout_gaussian"),
        ("river MinMaxScaler and HalfSpaceTrees", "nab_heldout_river_hst"),
        ("PySAD KNNCAD", "nab_heldout_pysad_knncad"),
        ("PySAD LODA", "nab_heldout_pysad_loda"),
        ("random cut forest", "nab_heldout_rcf"),
        ("cloud services: VUS-PR, state", "vus_pr_cloud"),
        ("its standard error, over series", "vus_pr_cloud_se"),
        ("score without the hold", "vus_pr_cloud_raw"),
        ("the same hold: best EWMA z", "vus_pr_cloud_ewma"),
        ("windowed Gaussian", "vus_pr_cloud_gaussian"),
        ("river MinMaxScaler and HalfSpaceTrees", "vus_pr_cloud_river_hst"),
        ("PySAD KNNCAD", "vus_pr_cloud_pysad_knncad"),
        ("random cut forest", "vus_pr_cloud_rcf"),
        ("chance", "vus_pr_cloud_random"),
        ("a false alarm in a device-week elsewhere: share of events found", "events_found_cloud"),
        ("rows until found, median", "delay_rows_median_cloud"),
        ("rows until found, 90th percentile", "delay_rows_p90_cloud"),
        ("false alarms a device-day", "false_per_device_day_cloud"),
        ("the same line and rest: share found by EWMA z, 0.003", "events_found_cloud_ewma_003"),
        ("rows until found, median", "delay_rows_median_cloud_ewma_003"),
        ("false alarms a device-day", "false_per_device_day_cloud_ewma_003"),
        ("servers: VUS-PR, state", "vus_pr_smd"),
        ("its standard error, over servers", "vus_pr_smd_se"),
        ("the SMD servers", "vus_pr_smd_machine"),
        ("the ASD servers", "vus_pr_smd_asd"),
        ("the same hold: windowed Gaussian", "vus_pr_smd_gaussian"),
        ("river MinMaxScaler and HalfSpaceTrees, all metrics", "vus_pr_smd_river_hst"),
        ("PySAD LODA, all metrics", "vus_pr_smd_pysad_loda"),
        ("random cut forest, all metrics", "vus_pr_smd_rcf"),
        *(
            (f"without the view {view}: {what}", f"{figure}_without_{view}")
            for view in VIEWS
            for what, figure in (("NAB", "nab_heldout"), ("cloud services", "vus_pr_cloud"))
        ),
        ("samples/s on one core", "samples_per_s"),
        ("over river MinMaxScaler and HalfSpaceTrees", "ratio_river_hst"),
        ("state, bytes per series", "bytes_per_series"),
        (
            "a tick of a million series, cohort pass included, s on two cores",
            "million_series_tick_s",
        ),
    ),
    "placement": (
        ("100,000 workloads, provisioned, 10 seeds: certified gap, %, median", "gap_pct_median"),
        ("the largest", "gap_pct_max"),
        ("CPU seconds", "cold_cpu_s"),
        ("CPU of HiGHS to 0.1 %, over ours to 0.1 %", "cpu_ratio_highs"),
        ("our most thorough plan, above that of HiGHS, %", "over_highs_pct"),
        ("10,000 workloads: CPU of HiGHS to 0.1 %, over ours, median of 5", "cpu_ratio_highs_10k"),
        ("our most thorough plan, above that of HiGHS, %", "over_highs_pct_10k"),
        ("certified gap, %, median of 10", "gap_pct_median_10k"),
        ("1,000,000 workloads: certified gap, %", "gap_pct_1m"),
        ("CPU seconds", "cpu_s_1m"),
        ("peak memory, GiB", "peak_gib_1m"),
        ("10,000 contended, 5 seeds, to 1 %: certified gap, %, largest", "gap_pct_contended_10k"),
        ("CPU over that of HiGHS' relaxation, largest", "cpu_over_lp_contended_10k"),
        ("the same, thorough: certified gap, %, largest", "gap_pct_contended_10k_thorough"),
        ("CPU over that of HiGHS' relaxation, largest", "cpu_over_lp_contended_10k_thorough"),
        ("10,000 in overload, thorough: certified gap, %", "gap_pct_overload_10k_thorough"),
        ("filter and score over the bound: provisioned", "greedy_over_bound_provisioned_10k"),
        ("the same, loose", "greedy_over_bound_loose_10k"),
        ("the same, contended", "greedy_over_bound_contended_10k"),
        ("the same, overload", "greedy_over_bound_overload_10k"),
        ("10,000 instances of 3 to 12 workloads: share solved to the best", "small_optimal_share"),
        ("bounds above the best", "bound_above_optimum"),
        ("violated constraints, all plans and all states between", "violations"),
        ("1 % of devices change a tick: CPU of a tick over a cold solve", "warm_over_cold"),
        ("certified gap after 1,000 ticks, %", "gap_pct_after_1000_ticks"),
        ("the largest on the way, %", "gap_pct_worst_of_1000_ticks"),
    ),
    "ingest": (
        ("Arrow, 16 metrics a row: durable rows/s", "arrow_rows_per_s"),
        ("the same, no metric watched for what is normal", "arrow_rows_per_s_unwatched"),
        ("a second of the server's CPU, judging included: rows", "arrow_rows_per_cpu_s"),
        ("NDJSON, 16 metrics a row: durable rows/s", "ndjson_rows_per_s"),
        ("OTLP, protobuf and gzip: durable points/s", "otlp_points_per_s"),
        ("Influx line protocol, 16 fields a line: durable points/s", "influx_points_per_s"),
        ("Prometheus remote write: durable samples/s", "remote_write_samples_per_s"),
        ("VictoriaMetrics, the same requests, samples/s", "victoriametrics_samples_per_s"),
        ("Prometheus' receiver, the same requests, samples/s", "prometheus_samples_per_s"),
        ("ours over VictoriaMetrics", "ratio_victoriametrics"),
        ("the same, a second of the server's CPU", "cpu_ratio_victoriametrics"),
        ("ours, no metric watched, over VictoriaMetrics", "ratio_victoriametrics_unwatched"),
        ("ours over Prometheus", "ratio_prometheus"),
        ("the same, a second of the server's CPU", "cpu_ratio_prometheus"),
        ("Arrow: with the log over the same server without one", "durable_over_volatile"),
        ("NDJSON: the same", "ndjson_durable_over_volatile"),
        ("OTLP: the same", "otlp_durable_over_volatile"),
        ("100,000 devices, 16 metrics a second: to a finding, s, median", "finding_p50_s"),
        ("the same, 99th percentile", "finding_p99_s"),
        ("from the faulty row on, an epoch of a second included", "finding_total_p99_s"),
        ("faults that gave no finding", "findings_missing"),
        ("cores the server used", "fleet_cores"),
        ("memory it held, MiB", "fleet_rss_mib"),
        ("overload: offered over capacity", "overload_offered_ratio"),
        ("accepted requests: 99th percentile, s", "overload_p99_s"),
        ("accepted over capacity", "overload_goodput_ratio"),
        ("answers other than 2xx and 429", "overload_wrong"),
        ("memory gained, MiB", "overload_rss_growth_mib"),
        ("until all is taken again, s", "overload_recovery_s"),
        ("kill -9 under load: acknowledged requests", "acknowledged"),
        ("of them lost", "lost"),
    ),
    "stability": (
        ("simulated costs: cost over the least in hindsight", "cost_ratio_synthetic"),
        ("its standard error", "cost_ratio_synthetic_se"),
        ("moves over those in hindsight", "migrations_ratio_synthetic"),
        ("work functions alone", "cost_ratio_synthetic_work"),
        ("for scale: told true costs, half an hour to pay", "cost_ratio_synthetic_told"),
        ("going where it is cheapest now", "cost_ratio_synthetic_greedy"),
        ("only if that saves 10 %", "cost_ratio_synthetic_hysteresis"),
        ("Seattle round trips: cost over the least in hindsight", "cost_ratio_seattle"),
        ("its standard error", "cost_ratio_seattle_se"),
        ("moves over those in hindsight", "migrations_ratio_seattle"),
        ("work functions alone", "cost_ratio_seattle_work"),
        ("going where it is cheapest now", "cost_ratio_seattle_greedy"),
        ("only if that saves 10 %", "cost_ratio_seattle_hysteresis"),
        ("5G radio of a car: cost over the least in hindsight", "cost_ratio_5g"),
        ("its standard error", "cost_ratio_5g_se"),
        ("moves over those in hindsight", "migrations_ratio_5g"),
        ("work functions alone", "cost_ratio_5g_work"),
        ("going where it is cheapest now", "cost_ratio_5g_greedy"),
        ("only if that saves 10 %", "cost_ratio_5g_hysteresis"),
        ("A to B to A before it paid, not forced, all three", "unforced_returns"),
        ("adversaries: cost over (2n - 1) times the least, largest", "worst_adversarial"),
        ("the same, going where it is cheapest", "worst_adversarial_greedy"),
    ),
    "explanations": (
        ("changes foretold, confirmed just outside and just inside", "confirmed_share"),
        ("its standard error", "confirmed_share_se"),
        ("100,000 workloads: CPU ms of an explanation, median", "explain_ms"),
        ("of the three nearest changes that would flip it", "nearest_flips_ms"),
        ("of all of them", "flips_ms"),
        ("what-if (a gateway gone, a site 5 °C warmer): CPU s", "what_if_s"),
        ("over a warm refresh of all prices and places", "what_if_over_warm"),
    ),
}


def main() -> int:
    """Rewrite the tables of all pages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        page.write_text(BLOCK.sub(lambda m: m[1] + table(m[2]) + m[3], text), encoding="utf-8")
    return 0


def table(name: str) -> str:
    """Return the table of a result as Markdown, with the machine below it."""
    result: dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text("utf-8"))
    figures = result["figures"]
    rows = [f"| {what} | {_number(figures[key])} |" for what, key in TABLES[name] if key in figures]
    machine, versions = result["machine"], result["versions"]
    made = (
        f"By `python {' '.join(result['command'])}` on {machine['cores']} cores of "
        f"{machine['processor']}, Python {versions['python']}, numba {versions['numba']}, "
        f"river {versions['river']}."
    )
    return "\n".join(["| figure | |", "|---|--:|", *rows, "", made, ""])


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:,.1f} M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
