// Table of experiments: rows, deltas against the baseline, sorting by number, filters, speed with
// many rows.
#include <QAbstractItemModelTester>
#include <QSignalSpy>
#include <QTest>
#include <ctime>
#include <utility>

#include "explore_fixture.h"
#include "ui/models/experiment_table_filter.h"
#include "ui/models/experiment_table_model.h"

using namespace fettle;
using namespace fettle::ui;

class TestExperimentTable : public QObject {
    Q_OBJECT

private:
    static std::vector<qint64> ids(const QAbstractItemModel& model) {
        std::vector<qint64> result;
        for (int row = 0; row < model.rowCount(); ++row) {
            result.push_back(model.index(row, 0).data(ExperimentTableModel::IdRole).toLongLong());
        }
        return result;
    }

private slots:
    void keepsTheModelContract();
    void changesRowWise();
    void showsDeltas();
    void neverComparesAcrossProtocolsOrDevices();
    void sortsNumbersAsNumbers();
    void filters_data();
    void filters();
    void writesVerdicts();
    void escapesCsv();
    void tenThousandRows();
};

void TestExperimentTable::keepsTheModelContract() {
    ExperimentTableModel model;
    QAbstractItemModelTester tester(&model, QAbstractItemModelTester::FailureReportingMode::QtTest);
    ExperimentTableFilter filter(&model);
    QAbstractItemModelTester filterTester(&filter,
                                          QAbstractItemModelTester::FailureReportingMode::QtTest);
    model.setMetricColumns({"perplexity", "decode_tokens_per_s"});
    model.setRecords(test::syntheticGallery());
    filter.sort(ExperimentTableModel::FirstMetric);
    ExperimentFilter wanted;
    wanted.technique = "ptq";
    filter.setFilter(wanted);
    std::mt19937 random(3);
    model.upsert(test::syntheticExperiment(500, random));
    model.upsert(test::syntheticExperiment(7, random));
    model.remove({1, 3, 500});
    model.setMetricColumns({"weight_bytes"});
    std::vector<qint64> many;
    for (qint64 id = 1; id <= 200; ++id) {
        many.push_back(id);
    }
    model.setRecords(test::syntheticExperiments(150));
    model.remove(many);
    QCOMPARE(model.rowCount(), 0);
    model.remove({1});
}

void TestExperimentTable::changesRowWise() {
    ExperimentTableModel model;
    model.setRecords(test::syntheticExperiments(20));
    QSignalSpy resets(&model, &QAbstractItemModel::modelReset);
    QSignalSpy changes(&model, &QAbstractItemModel::dataChanged);
    QSignalSpy inserts(&model, &QAbstractItemModel::rowsInserted);
    ExperimentRecord record = model.records()[4];
    record.name = "renamed";
    model.upsert(record);
    QCOMPARE(changes.count(), 1);
    QCOMPARE(changes[0][0].toModelIndex().row(), 4);
    QCOMPARE(model.index(4, ExperimentTableModel::Name).data().toString(), "renamed");
    record.id = 99;
    model.upsert(record);
    QCOMPARE(inserts.count(), 1);
    QCOMPARE(model.rowOf(99), 20);
    QCOMPARE(resets.count(), 0);
}

void TestExperimentTable::showsDeltas() {
    ExperimentTableModel model;
    model.setMetricColumns({"perplexity", "decode_tokens_per_s", "weight_bytes"});
    auto records = std::vector{test::syntheticBaseline(1), test::syntheticBaseline(2),
                               test::syntheticBaseline(3)};
    for (std::size_t i : {1U, 2U}) {
        RecipeStep step;
        step.technique = "ptq";
        records[i].recipe.steps.push_back(step);
    }
    test::put(records[1], test::measured("perplexity", 12.40 * 1.10, 0.1, test::kPlain));
    test::put(records[1], test::measured("decode_tokens_per_s", 41.0 * 2.5, 1));
    test::put(records[2], test::measured("perplexity", 12.45, 0.1, test::kPlain));
    model.setRecords(records);
    const auto at = [&](int row, int metric, int role) {
        return model.index(row, ExperimentTableModel::FirstMetric + metric).data(role);
    };
    QCOMPARE(at(1, 0, ExperimentTableModel::DeltaRole).toString(), "+10%");
    QCOMPARE(at(1, 0, ExperimentTableModel::GoodnessRole).toInt(), -1);
    QCOMPARE(at(1, 1, ExperimentTableModel::DeltaRole).toString(), QStringLiteral("2.50×"));
    QCOMPARE(at(1, 1, ExperimentTableModel::GoodnessRole).toInt(), 1);
    // Intervals overlap: no colour, no number that would pretend to be one.
    QCOMPARE(at(2, 0, ExperimentTableModel::DeltaRole).toString(), QStringLiteral("≈"));
    QCOMPARE(at(2, 0, ExperimentTableModel::GoodnessRole).toInt(), 0);
    QVERIFY(!at(0, 0, ExperimentTableModel::DeltaRole).isValid());
}

void TestExperimentTable::neverComparesAcrossProtocolsOrDevices() {
    const ExperimentRecord baseline = test::syntheticBaseline(1);
    ExperimentRecord record = test::syntheticBaseline(2);
    record.metrics["perplexity"].protocol = test::kOther;
    record.device = "cuda:0";
    QVERIFY(!metricDelta(record, baseline, "perplexity"));
    QVERIFY(!metricDelta(record, baseline, "decode_tokens_per_s"));
    QVERIFY(metricDelta(record, baseline, "weight_bytes").has_value());
}

void TestExperimentTable::sortsNumbersAsNumbers() {
    ExperimentTableModel model;
    model.setMetricColumns({"decode_tokens_per_s"});
    auto records = test::syntheticExperiments(4);
    test::put(records[0], test::measured("decode_tokens_per_s", 100));
    test::put(records[1], test::measured("decode_tokens_per_s", 9));
    records[2].metrics.clear();
    test::put(records[3], test::measured("decode_tokens_per_s", 25));
    model.setRecords(records);
    ExperimentTableFilter filter(&model);
    filter.sort(ExperimentTableModel::FirstMetric, Qt::AscendingOrder);
    QCOMPARE(ids(filter), (std::vector<qint64>{2, 4, 1, 3}));
    filter.sort(ExperimentTableModel::FirstMetric, Qt::DescendingOrder);
    QCOMPARE(ids(filter), (std::vector<qint64>{1, 4, 2, 3}));
}

void TestExperimentTable::filters_data() {
    QTest::addColumn<int>("field");
    QTest::newRow("text") << 0;
    QTest::newRow("technique") << 1;
    QTest::newRow("model") << 2;
    QTest::newRow("device") << 3;
    QTest::newRow("status") << 4;
    QTest::newRow("range") << 5;
}

void TestExperimentTable::filters() {
    QFETCH(int, field);
    auto records = test::syntheticGallery();
    records[30].modelName = "other";
    records[31].device = "cuda:0";
    ExperimentTableModel model;
    model.setRecords(records);
    ExperimentTableFilter filter(&model);
    ExperimentFilter wanted;
    std::function<bool(const ExperimentRecord&)> expected;
    switch (field) {
        case 0:
            wanted.text = "INT4 qad";
            expected = [](const auto& r) {
                const QString all = QString::fromStdString(r.name + " " + r.summary());
                return all.contains("int4") && all.contains("qad");
            };
            break;
        case 1:
            wanted.technique = "ptq";
            expected = [](const auto& r) {
                return !r.recipe.steps.empty() && r.recipe.steps[0].technique == "ptq";
            };
            break;
        case 2:
            wanted.model = "other";
            expected = [](const auto& r) { return r.modelName == "other"; };
            break;
        case 3:
            wanted.device = "cuda:0";
            expected = [](const auto& r) { return r.device == "cuda:0"; };
            break;
        case 4:
            wanted.status = ExperimentStatus::Failed;
            expected = [](const auto& r) { return r.status == ExperimentStatus::Failed; };
            break;
        default:
            wanted.ranges["perplexity"] = {12.5, 13.0};
            expected = [](const auto& r) {
                const auto found = r.metrics.find("perplexity");
                return found != r.metrics.end() && found->second.value >= 12.5 &&
                       found->second.value <= 13.0;
            };
    }
    filter.setFilter(wanted);
    std::vector<qint64> kept;
    for (const ExperimentRecord& record : records) {
        if (expected(record)) {
            kept.push_back(record.id);
        }
    }
    QVERIFY(!kept.empty());
    QCOMPARE(ids(filter), kept);
    filter.setFilter({});
    QCOMPARE(filter.rowCount(), model.rowCount());
}

void TestExperimentTable::writesVerdicts() {
    const ExperimentRecord baseline = test::syntheticBaseline(1);
    ExperimentRecord record = test::syntheticBaseline(2);
    record.recipe.steps.emplace_back();
    test::put(record, test::measured("decode_tokens_per_s", 41.0 * 2.1, 1));
    test::put(record, test::measured("weight_bytes", 8.4 * 1024 * 1024 / 3.8));
    test::put(record, test::measured("perplexity", 12.40 * 1.019, 12.40 * 0.007, test::kPlain));
    const QString sure = verdict(record, &baseline);
    QVERIFY2(sure.contains(QStringLiteral("2.1× faster decode, 3.8× smaller than the baseline")),
             qPrintable(sure));
    QVERIFY2(sure.contains("perplexity +1.9% (interval +1.2% to +2.6%)"), qPrintable(sure));

    test::put(record, test::measured("perplexity", 12.41, 0.05, test::kPlain));
    QVERIFY(verdict(record, &baseline).contains("not distinguishable"));
    // The paired ratio is the sharper test and overrides the overlap of two separate intervals.
    Measurement ratio = test::measured("ppl_ratio", 1.004, 0.001, test::kPlain);
    test::put(record, ratio);
    QVERIFY(verdict(record, &baseline).contains("perplexity +0.4% (interval +0.3% to +0.5%)"));
    test::put(record, test::measured("ppl_ratio", 1.0005, 0.001, test::kPlain));
    QVERIFY(verdict(record, &baseline).contains("not distinguishable"));

    record.metrics["perplexity"].protocol = test::kOther;
    QVERIFY(verdict(record, &baseline).contains("another protocol"));
    record.metrics["decode_tokens_per_s"].native = false;
    QVERIFY(verdict(record, &baseline).contains("not native"));
    QVERIFY(verdict(record, nullptr).contains("No finished baseline"));
    record.status = ExperimentStatus::Failed;
    record.error = "disk full";
    QCOMPARE(verdict(record, &baseline), "Failed: disk full");
}

void TestExperimentTable::escapesCsv() {
    ExperimentRecord record = test::syntheticBaseline(1);
    record.name = "=cmd \"x\", y";
    const QString csv = toCsv({&record});
    QVERIFY2(csv.contains("\"'=cmd \"\"x\"\", y\""), qPrintable(csv));
    QCOMPARE(csv.count('\n'), 2);
}

void TestExperimentTable::tenThousandRows() {
    const auto records = test::syntheticExperiments(10000);
    ExperimentTableModel model;
    ExperimentTableFilter filter(&model);
    model.setMetricColumns({"perplexity"});
    // Processor time: what it costs, whatever else the machine is doing.
    std::clock_t last = std::clock();
    const auto lap = [&] {
        const std::clock_t before = std::exchange(last, std::clock());
        return qint64(1000 * (last - before) / CLOCKS_PER_SEC);
    };
    model.setRecords(records);
    const qint64 load = lap();
    filter.sort(ExperimentTableModel::FirstMetric);
    const qint64 sort = lap();
    ExperimentFilter wanted;
    wanted.text = "int4";
    filter.setFilter(wanted);
    const qint64 narrow = lap();
    std::mt19937 random(5);
    for (int i = 0; i < 100; ++i) {
        model.upsert(test::syntheticExperiment(2 + i, random));
    }
    const qint64 change = lap();
    qInfo("10,000 rows: load %lld ms, sort %lld ms, filter %lld ms, 100 changes %lld ms", load,
          sort, narrow, change);
    QVERIFY(load + sort + narrow + change < 2000);
}

QTEST_GUILESS_MAIN(TestExperimentTable)
#include "tst_experiment_table.moc"
