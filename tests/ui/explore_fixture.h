// A service without a database and experiments with made-up numbers, for the tests of the explore
// page.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>

#include "ui/bridge/experiment_service.h"

namespace fettle::ui::test {

inline Measurement measured(const std::string& name, double value, double halfInterval = 0,
                            const std::string& protocol = {}) {
    Measurement m;
    m.name = name;
    m.value = value;
    if (const MetricInfo* info = findMetric(name)) {
        m.unit = info->unit;
    }
    if (halfInterval > 0) {
        m.low = value - halfInterval;
        m.high = value + halfInterval;
    }
    m.protocol = protocol;
    return m;
}

inline const std::string kPlain = "ppl windows=256 first-unscored";
inline const std::string kOther = "ppl windows=512 llama.cpp";

inline void put(ExperimentRecord& record, const Measurement& measurement) {
    record.metrics[measurement.name] = measurement;
}

inline ExperimentRecord syntheticBaseline(std::int64_t id) {
    ExperimentRecord record;
    record.id = id;
    record.name = "baseline";
    record.modelHash = "model-a";
    record.modelName = "synthetic-1M";
    record.modelPath = "models/synthetic-1M";
    record.device = "cpu";
    record.status = ExperimentStatus::Finished;
    record.finishedMs = 1000 + id;
    put(record, measured("perplexity", 12.40, 0.10, kPlain));
    put(record, measured("decode_tokens_per_s", 41.0, 0.8));
    put(record, measured("prefill_tokens_per_s", 900, 9));
    put(record, measured("ttft_ms", 560, 8));
    put(record, measured("weight_bytes", 8.4 * 1024 * 1024));
    put(record, measured("peak_bytes", 31.0 * 1024 * 1024));
    put(record, measured("bits_per_weight", 16));
    return record;
}

/// A plausible experiment: fewer bits are smaller and faster and cost accuracy; training brings
/// some of it back.
inline ExperimentRecord syntheticExperiment(std::int64_t id, std::mt19937& random) {
    struct Kind {
        std::vector<const char*> steps;
        const char* scheme;
        double bits;
        double cost;  // share of perplexity
        double speed;
    };
    static const std::vector<Kind> kinds{{{"ptq"}, "int8", 8.2, 0.004, 1.6},
                                         {{"ptq"}, "w8a16", 8.2, 0.003, 1.5},
                                         {{"ptq"}, "int4-g32", 4.6, 0.045, 2.2},
                                         {{"ptq"}, "int4-g128", 4.2, 0.075, 2.35},
                                         {{"ptq"}, "int3-g128", 3.2, 0.24, 2.5},
                                         {{"ptq"}, "nvfp4", 4.5, 0.06, 1.1},
                                         {{"ptq", "qat"}, "int4-g32", 4.6, 0.022, 2.2},
                                         {{"ptq", "qad"}, "int4-g32", 4.6, 0.013, 2.2},
                                         {{"ptq", "qad"}, "int3-g128", 3.2, 0.10, 2.5},
                                         {{"prune"}, "", 12.0, 0.16, 1.35},
                                         {{"prune", "distill"}, "", 11.0, 0.08, 1.45},
                                         {{"ptq", "speculative"}, "int8", 8.3, 0.004, 2.7}};
    std::normal_distribution<double> noise(0, 1);
    const Kind& kind = kinds[static_cast<std::size_t>(random() % kinds.size())];
    ExperimentRecord record = syntheticBaseline(id);
    for (const char* technique : kind.steps) {
        RecipeStep step;
        step.technique = technique;
        if (std::string_view(technique) == "ptq") {
            step.params["scheme"] = kind.scheme;
            step.params["method"] = random() % 2 ? "gptq" : "awq";
        } else if (std::string_view(technique) == "prune") {
            step.params["method"] = "wanda";
            step.params["ratio"] = 0.1 * static_cast<double>(1 + random() % 4);
        } else if (std::string_view(technique) == "qat" || std::string_view(technique) == "qad") {
            step.params["tokens"] = 1000000 * (1 + random() % 3);
        }
        record.recipe.steps.push_back(step);
    }
    record.name = record.summary() + " #" + std::to_string(id);
    record.recipe.name = record.name;
    const double cost = std::max(kind.cost * std::exp(0.35 * noise(random)), 1e-4);
    const double perplexity = 12.40 * (1 + cost);
    put(record, measured("perplexity", perplexity, 0.008 * perplexity, kPlain));
    put(record, measured("kl_mean", cost * 0.6, cost * 0.05, kPlain));
    put(record, measured("top1_agreement", 100 * std::max(0.4, 1 - cost), 0.4, kPlain));
    const double speed = 41.0 * kind.speed * std::exp(0.07 * noise(random));
    put(record, measured("decode_tokens_per_s", speed, 0.02 * speed));
    put(record, measured("prefill_tokens_per_s",
                         900 * (1 + 0.3 * kind.speed) * std::exp(0.06 * noise(random))));
    put(record, measured("ttft_ms", 560 / kind.speed * std::exp(0.05 * noise(random)), 6));
    put(record, measured("weight_bytes",
                         8.4 * 1024 * 1024 * kind.bits / 16 * std::exp(0.03 * noise(random))));
    put(record, measured("bits_per_weight", kind.bits));
    if (std::string_view(kind.scheme) == "nvfp4") {
        for (const char* name : {"decode_tokens_per_s", "prefill_tokens_per_s", "ttft_ms"}) {
            record.metrics[name].native = false;
        }
    }
    return record;
}

inline std::vector<ExperimentRecord> syntheticExperiments(int count, unsigned seed = 7) {
    std::mt19937 random(seed);
    std::vector<ExperimentRecord> records{syntheticBaseline(1)};
    while (static_cast<int>(records.size()) < count) {
        records.push_back(
            syntheticExperiment(static_cast<std::int64_t>(records.size()) + 1, random));
    }
    return records;
}

/// About forty experiments that show every state the page knows.
inline std::vector<ExperimentRecord> syntheticGallery() {
    auto records = syntheticExperiments(40, 11);
    records[5].status = ExperimentStatus::Failed;
    records[5].error = "out of memory while training";
    records[5].metrics.clear();
    records[9].status = ExperimentStatus::Interrupted;
    records[9].metrics.clear();
    records[14].status = ExperimentStatus::Running;
    records[14].metrics.clear();
    records[17].metrics["decode_tokens_per_s"].estimated = true;
    records[18].metrics["decode_tokens_per_s"].estimated = true;
    for (const std::size_t i : {20U, 21U, 22U}) {
        for (const char* name : {"perplexity", "kl_mean", "top1_agreement"}) {
            records[i].metrics[name].protocol = kOther;
        }
        records[i].metrics["perplexity"].value *= 0.93;
    }
    return records;
}

class FakeService : public ExperimentService {
public:
    std::vector<ExperimentRecord> records;
    std::vector<ExperimentRecord> removed;
    bool locked = false;

    ExperimentList experiments() const override { return records; }
    std::optional<ExperimentRecord> experiment(qint64 id) const override {
        const auto found =
            std::find_if(records.begin(), records.end(), [&](const auto& r) { return r.id == id; });
        return found == records.end() ? std::nullopt : std::optional(*found);
    }
    std::optional<ExperimentDetail> detail(qint64 id) const override {
        ExperimentDetail result;
        const auto record = experiment(id);
        if (!record) {
            return std::nullopt;
        }
        result.record = *record;
        return result;
    }
    std::optional<EvaluationTrace> trace(qint64) const override { return std::nullopt; }
    qint64 create(const RunRequest&, const QString&) override { return 0; }
    QString artifactFolder(qint64) const override { return {}; }
    std::optional<RunRequest> requestFor(qint64) const override { return RunRequest{}; }
    void remove(const std::vector<qint64>& ids) override {
        removed.clear();
        std::erase_if(records, [&](const ExperimentRecord& r) {
            const bool gone = std::find(ids.begin(), ids.end(), r.id) != ids.end();
            if (gone) {
                removed.push_back(r);
            }
            return gone;
        });
        emit experimentsRemoved(ids);
    }
    void undoRemove() override {
        records.insert(records.end(), removed.begin(), removed.end());
        std::sort(records.begin(), records.end(),
                  [](const auto& a, const auto& b) { return a.id < b.id; });
        removed.clear();
        emit experimentsReset();
    }
    void storeMetric(qint64, const Measurement&) override {}
    void rename(qint64 id, const QString& name) override {
        for (ExperimentRecord& record : records) {
            if (record.id == id) {
                record.name = name.toStdString();
                emit experimentChanged(id);
            }
        }
    }
    void setFavourite(const std::vector<qint64>& ids, bool favourite) override {
        annotate(ids, [favourite](Annotations& a) { a.favourite = favourite; });
    }
    void setTag(const std::vector<qint64>& ids, const QString& tag, bool on) override {
        annotate(ids, [name = tag.toStdString(), on](Annotations& a) {
            std::erase(a.tags, name);
            if (on) {
                a.tags.insert(std::lower_bound(a.tags.begin(), a.tags.end(), name), name);
            }
        });
    }
    void setNote(qint64 id, const QString& note) override {
        annotate({id}, [&](Annotations& a) { a.note = note.toStdString(); });
    }
    std::vector<LibraryItem> library() const override { return {}; }
    qint64 addToLibrary(LibraryItem) override { return 0; }
    void removeFromLibrary(qint64) override {}
    QString openingNotice() const override { return {}; }
    bool readOnly() const override { return locked; }

    /// Adds or changes one, as a running job would.
    void store(const ExperimentRecord& record) {
        const auto found = std::find_if(records.begin(), records.end(),
                                        [&](const auto& r) { return r.id == record.id; });
        if (found == records.end()) {
            records.push_back(record);
        } else {
            *found = record;
        }
        emit experimentChanged(record.id);
    }

    template <typename Change>
    void annotate(const std::vector<qint64>& ids, Change change) {
        for (const qint64 id : ids) {
            for (ExperimentRecord& record : records) {
                if (record.id == id) {
                    change(record.annotations);
                }
            }
            emit experimentChanged(id);
        }
    }
};

}  // namespace fettle::ui::test
