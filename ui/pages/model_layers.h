// Part of the Inspect tab: the model as a graph of blocks and operations, as a heat map (tensor by
// layer) and as areas of memory, coloured by a metric of the file or of an experiment on it. GUI
// thread only.
#pragma once

#include <QTimer>
#include <QWidget>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "engine/experiment/model_report.h"
#include "engine/experiment/recipe.h"

class QComboBox;
class QLabel;
class QTabWidget;

namespace fettle::ui {

class ExperimentService;
class LayerHeatMap;
class ModelGraph;
class TreeMap;

class ModelLayers : public QWidget {
    Q_OBJECT

public:
    explicit ModelLayers(ExperimentService* experiments, QWidget* parent = nullptr);

    /// `path`: the model as experiments name it, which for the bundled one is "demo".
    void setReport(const ModelReport& report, const QString& path);
    /// The recipe being edited: what it does to single weights is marked.
    void setRecipe(const Recipe& recipe);
    ModelGraph* graph() const { return m_graph; }
    QTabWidget* views() const { return m_views; }
    LayerHeatMap* map() const { return m_map; }
    TreeMap* memory() const { return m_memory; }
    QComboBox* sourceChoice() const { return m_source; }
    QComboBox* metricChoice() const { return m_metric; }

signals:
    /// A tensor was chosen, by its name in the file.
    void tensorChosen(const QString& tensor);

private:
    void fillSources();
    void refillSources();
    void showSource();
    void showMetric();
    void showMemory(const std::vector<LayerMetric>& metrics, const QString& metric);
    QString fileName(const QString& tensor) const;

    ExperimentService* m_experiments;
    void addPredictedTimes();
    bool isOurs(const ExperimentRecord& record) const;

    ModelReport m_report;
    std::string m_path;
    Recipe m_recipe;
    std::vector<LayerMetric> m_own;    ///< of the file
    std::vector<LayerMetric> m_other;  ///< of the chosen experiment
    QComboBox* m_source;
    QComboBox* m_metric;
    QLabel* m_note;
    ModelGraph* m_graph;
    LayerHeatMap* m_map;
    TreeMap* m_memory;
    QTabWidget* m_views;
    QTimer m_refill;  ///< gathers the changes of a busy run
};

}  // namespace fettle::ui
