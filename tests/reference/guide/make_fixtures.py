#!/usr/bin/env python3
"""Make the fixtures of this folder from a copy of the guide.

    python3 make_fixtures.py GUIDE.md [FOLDER]

The guide's own classes are taken from its code blocks and run on chosen and random inputs. What
they answer is the reference: this script has none of the guide's arithmetic. Tables and trees are
read from its text. Needs CPython before 3.12, whose sum() of floats is plain addition.
"""

import ast
import json
import pathlib
import random
import re
import sys
import types
import unittest.mock

COUNT = 60  # random cases of each function


def definitions(text):
    """Runs the guide's class definitions and its one configuration table, nothing else of it."""
    wanted = {"RTX3060MemoryCalculator", "RTX_3060_CONFIGS", "SystemMemoryCalculator",
              "DynamicBatchSizer", "StorageOptimizer", "CPUOptimizer", "ROICalculator",
              "CloudCostOptimizer"}
    scope = {"torch": unittest.mock.MagicMock(), "os": types.SimpleNamespace(environ={}),
             "Path": pathlib.PurePosixPath, "print": lambda *_: None, "cpu_count": lambda: 0}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.S | re.M):
        try:
            tree = ast.parse(block)
        except SyntaxError:  # a notebook's cell
            continue
        for node in tree.body:
            names = {node.name} if isinstance(node, ast.ClassDef) else {
                target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)}
            if names & wanted:
                wanted -= names
                exec(compile(ast.Module([node], []), "guide", "exec"), scope)
    if wanted:
        sys.exit(f"not found in the guide: {sorted(wanted)}")
    return types.SimpleNamespace(**scope), scope


def case(call, **arguments):
    try:
        return {"arguments": arguments, "result": call(**arguments)}
    except Exception as problem:
        return {"arguments": arguments, "raises": type(problem).__name__}


def sizes(rng, largest):
    """Plain, fractional, tiny and huge numbers."""
    yield from (0.0, 0.1, 0.5, 1.0, 1.7, 3.0, 7.0, 14.0, 32.0, 7.615616512, 1e-9, 1e12)
    for _ in range(COUNT):
        yield rng.choice((round(rng.uniform(0, largest), rng.randrange(4)),
                          rng.uniform(0, largest), 10 ** rng.uniform(-6, 9)))


def calculators(guide, scope, rng):
    memory, host = guide.RTX3060MemoryCalculator(), guide.SystemMemoryCalculator()
    roi, cloud = guide.ROICalculator(), guide.CloudCostOptimizer()
    yield "calculate_model_memory", [
        case(memory.calculate_model_memory, model_params_b=size, precision=precision)
        for size in sizes(rng, 80) for precision in [rng.choice(("fp32", "fp16", "int8", "int4"))]
    ] + [case(memory.calculate_model_memory, model_params_b=size, precision=precision)
         for size in (3.0, 7.0, 14.0) for precision in ("fp32", "fp16", "int8", "int4", "bf16", "")]
    # 11264 MB is exactly what the guide lets a run have.
    edges = [11264 / 9000, 11264 / 4500, (11264 - 2048) / 500]
    yield "recommend_optimization", [
        case(memory.recommend_optimization, model_params_b=size)
        for size in [*sizes(rng, 40), *edges, *(1.0000000000000002 * edge for edge in edges)]]
    yield "calculate_training_memory", [
        case(host.calculate_training_memory, dataset_size_gb=size, model_size_gb=rng.uniform(0, 80))
        for size in sizes(rng, 12)
    ] + [case(host.calculate_training_memory, dataset_size_gb=dataset, model_size_gb=model)
         for dataset, model in ((5.0, 14.0), (8.0, 0.0), (8.000000000000002, 6.0), (0.0, 0.0))]
    yield "recommend_ram_config", [
        case(host.recommend_ram_config, use_case=name)
        for name in ("basic_3b", "advanced_7b", "production_14b", "huge_70b", "")]

    hardware = [860.0, 1360.0, 2270.0, 0.01, 1e9]
    rois = [case(roi.calculate_local_setup_roi, hardware_cost=cost, monthly_training_hours=hours,
                 months_of_use=24) for cost in hardware for hours in (20.0, 50.0, 100.0, 200.0)]
    rois += [case(roi.calculate_local_setup_roi, hardware_cost=round(rng.uniform(1, 9000), 2),
                  monthly_training_hours=rng.choice((round(rng.uniform(0, 730), 1),
                                                     rng.uniform(0, 730))),
                  months_of_use=rng.randrange(0, 121)) for _ in range(2 * COUNT)]
    rois += [case(roi.calculate_local_setup_roi, hardware_cost=cost, monthly_training_hours=hours,
                  months_of_use=months)
             for cost, hours, months in ((0.0, 50.0, 24), (860.0, 0.0, 24), (0.0, 0.0, 0),
                                         (860.0, 50.0, 0))]
    yield "calculate_local_setup_roi", rois
    builds = {"Entry Level": 860.0, "Mainstream": 1360.0, "High-End": 2270.0}
    yield "compare_setups", [
        case(roi.compare_setups, setups=builds, monthly_hours=hours)
        for hours in (20.0, 50.0, 100.0, 200.0, 33.3, 0.0)
    ] + [case(roi.compare_setups, setups=setups, monthly_hours=50.0)
         for setups in ({}, {"b": 2.0, "a": 1.0}, {"free": 0.0})]

    yield "calculate_optimal_cloud_strategy", [
        case(cloud.calculate_optimal_cloud_strategy, training_time_hours=hours,
             urgency=rng.choice(("normal", "urgent"))) for hours in sizes(rng, 500)
    ] + [case(cloud.calculate_optimal_cloud_strategy, training_time_hours=6.0, urgency=urgency)
         for urgency in ("normal", "urgent", "flexible", "Urgent")]
    yield "estimate_monthly_cloud_budget", [
        case(cloud.estimate_monthly_cloud_budget, experiments_per_month=experiments,
             avg_experiment_hours=hours)
        for experiments, hours in [(10, 4.0), (0, 4.0), (1, 0.0), (0, 0.0), (2 ** 53 + 1, 0.1)]
        + [(rng.randrange(1, 400), rng.choice((round(rng.uniform(0, 90), 1), rng.uniform(0, 90))))
           for _ in range(COUNT)]]

    def batch_sizes(start, events):
        sizer = guide.DynamicBatchSizer(start)
        return [sizer.adjust_batch_size(**dict.fromkeys(event, True)) for event in events]

    kinds = [["memory_error"], ["underutilized"], ["memory_error", "underutilized"], []]
    yield "batch_sizes", [
        case(batch_sizes, start=start, events=[rng.choice(kinds) for _ in range(12)])
        for start in (1, 2, 3, 4, 5, 7, 8, 11, 15, 16, 17, 33, 100, 0, 1000000007)]

    def on_machine(method, **arguments):
        count = arguments.pop("logical_cpus")
        scope["cpu_count"] = lambda: count
        return getattr(guide.CPUOptimizer(), method)(**arguments)

    machines = (1, 2, 3, 4, 5, 6, 8, 12, 15, 16, 20, 24, 32, 64, 128, 255)
    for method in ("optimize_torch_settings", "set_environment_variables"):
        yield method, [case(lambda logical_cpus: on_machine(method, logical_cpus=logical_cpus),
                            logical_cpus=count) for count in machines]
    yield "optimize_dataloader_workers", [
        case(lambda logical_cpus, batch_size: on_machine(
            "optimize_dataloader_workers", logical_cpus=logical_cpus, batch_size=batch_size),
            logical_cpus=count, batch_size=batch) for count in machines for batch in (0, 1, 4, 9, 64)]

    guide.StorageOptimizer.setup_directory_structure = lambda self: None

    def cache(base_path):
        with unittest.mock.patch.object(pathlib.PurePosixPath, "mkdir", create=True):
            return guide.StorageOptimizer(base_path).optimize_cache_settings()

    yield "optimize_cache_settings", [
        case(cache, base_path=path)
        for path in ("/path/to/arabic-qwen-training", "runs", ".", "", "/", "//", "//net/disk",
                     "///three", "a//b/", "./a/./b", "../up", "a/../b", "/mnt/my disk", "/بيانات",
                     "./", "/.", "~", "...", "a/.hidden")]
    yield "training_configs", [{"arguments": {"name": name}, "result": config}
                               for name, config in guide.RTX_3060_CONFIGS.items()]


def dumped(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def plain(cell):
    return cell.strip().replace("**", "")


def tables(text):
    """Markdown tables by the heading above them, cells without their bold marks."""
    found, heading = {}, ""
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("#"):
            heading = lines[-1].lstrip("#").strip()
        elif lines and lines[0].startswith("|"):
            rows = [[plain(cell) for cell in line.strip("|").split("|")] for line in lines]
            found[heading] = {"columns": rows[0], "rows": rows[2:]}
    return found


def layouts(text):
    """The three folder trees: full path, size, what is in it."""
    found = {}
    for title, body in re.findall(r"📁 (Storage Layout - [^\n]*)\n(.*?)^```", text, re.S | re.M):
        parent, rows = "", []
        for line in body.splitlines():
            name, size, note = re.search(r"([\w]+/)\s+\((\w+)\)(?:\s+- (.*))?", line).groups()
            parent = name if "📂" in line else parent
            rows.append([name if "📂" in line else parent + name, size, note or ""])
        found[title] = {"rows": rows}
    return found


def builds(text):
    """The three parts lists: part, model, price; and what the guide says that each can do."""
    found = {}
    for heading, title, body in re.findall(
            r"^#### ([^\n]*)\n```\n🖥️ ([^\n]*)\n(.*?)^```", text, re.S | re.M):
        parts, _, can = body.partition("Capabilities:\n")
        rows = []
        for line in parts.splitlines():
            entry = line.lstrip("├└─ ").strip()
            if entry:
                label, price = re.fullmatch(r"(.*?) \(?(~?\$[\d,]+)\)?", entry).groups()
                part, _, model = label.partition(":")
                rows.append([part, model.strip(), price])
        found[title] = {"heading": heading, "rows": rows, "capabilities": can.strip().splitlines()}
    return found


def main():
    if sys.version_info >= (3, 12):
        sys.exit("needs CPython before 3.12: from there on sum() compensates rounding")
    source = pathlib.Path(sys.argv[1])
    folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent)
    text = source.read_text(encoding="utf-8")
    guide, scope = definitions(text)
    made = dict(calculators(guide, scope, random.Random(3060)))
    made = {"calculators": made,
            "tables": {kind: [{"title": title, **found} for title, found in read(text).items()]
                       for kind, read in (("tables", tables), ("layouts", layouts),
                                          ("builds", builds))}}
    for name, content in made.items():
        parts = [dumped(key) + ": " + ("[\n" + ",\n".join(map(dumped, part)) + "\n]"
                                       if isinstance(part, list) else dumped(part))
                 for key, part in content.items()]
        (folder / f"{name}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
