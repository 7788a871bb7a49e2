// A store in memory for tests of the window.
#pragma once

#include <QFileInfo>
#include <algorithm>
#include <map>
#include <utility>

#include "ui/bridge/experiment_service.h"

namespace fettle::test {

class FakeExperimentService : public ui::ExperimentService {
public:
    explicit FakeExperimentService(QObject* parent = nullptr) : ExperimentService(parent) {
        using Kind = ui::LibraryItem::Kind;
        items = {{Kind::Model, -1, QStringLiteral("Demo model"), QStringLiteral("demo"),
                  QStringLiteral("tiny"), true, false},
                 {Kind::Text, -2, QStringLiteral("Demo text"), QStringLiteral("/demo/text.txt"),
                  QStringLiteral("1 kB"), true, false}};
    }

    ui::ExperimentList experiments() const override { return records; }
    std::optional<ExperimentRecord> experiment(qint64 id) const override {
        for (const ExperimentRecord& record : records) {
            if (record.id == id) {
                return record;
            }
        }
        return std::nullopt;
    }
    std::optional<ExperimentDetail> detail(qint64 id) const override {
        if (const auto found = details.find(id); found != details.end()) {
            return found->second;
        }
        const auto record = experiment(id);
        if (!record) {
            return std::nullopt;
        }
        ExperimentDetail detail;
        detail.record = *record;
        if (const auto found = requests.find(id); found != requests.end()) {
            detail.inputs = found->second.inputs;
            detail.measure = found->second.measure;
        }
        return detail;
    }
    std::optional<EvaluationTrace> trace(qint64 id) const override {
        const auto found = traces.find(id);
        return found == traces.end() ? std::nullopt : std::optional(found->second);
    }
    qint64 create(const RunRequest& request, const QString& name) override {
        if (refuse) {
            return 0;
        }
        ExperimentRecord record;
        record.id = ++m_last;
        record.name = name.toStdString();
        record.modelPath = request.modelPath;
        record.modelName = request.modelPath;
        record.recipe = request.recipe;
        records.push_back(record);
        requests[record.id] = request;
        emit experimentChanged(record.id);
        return record.id;
    }
    QString artifactFolder(qint64 id) const override {
        return QStringLiteral("/artifacts/%1").arg(id);
    }
    std::optional<RunRequest> requestFor(qint64 id) const override {
        const auto found = requests.find(id);
        if (found == requests.end()) {
            return std::nullopt;
        }
        RunRequest request = found->second;
        request.experiment = id;
        return request;
    }
    void remove(const std::vector<qint64>& ids) override {
        removed = ids;
        std::erase_if(records, [&](const ExperimentRecord& r) {
            return std::find(ids.begin(), ids.end(), r.id) != ids.end();
        });
        emit experimentsRemoved(ids);
    }
    void undoRemove() override {}
    void rename(qint64 id, const QString& name) override {
        for (ExperimentRecord& record : records) {
            if (record.id == id) {
                record.name = name.toStdString();
            }
        }
        emit experimentChanged(id);
    }
    void storeMetric(qint64 id, const Measurement& metric) override {
        for (ExperimentRecord& record : records) {
            if (record.id == id) {
                record.metrics[metric.name] = metric;
            }
        }
        emit experimentChanged(id);
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
    std::vector<ui::LibraryItem> library() const override { return items; }
    qint64 addToLibrary(ui::LibraryItem item) override {
        item.id = ++m_last;
        items.push_back(std::move(item));
        emit libraryChanged();
        return m_last;
    }
    void removeFromLibrary(qint64 id) override {
        std::erase_if(items, [id](const ui::LibraryItem& item) { return item.id == id; });
        emit libraryChanged();
    }
    QString openingNotice() const override { return notice; }
    bool readOnly() const override { return !notice.isEmpty(); }

    std::vector<ExperimentRecord> records;
    std::map<qint64, RunRequest> requests;
    std::map<qint64, ExperimentDetail> details;
    std::map<qint64, EvaluationTrace> traces;
    std::vector<ui::LibraryItem> items;
    std::vector<qint64> removed;
    QString notice;
    bool refuse = false;

private:
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

    qint64 m_last = 0;
};

}  // namespace fettle::test
