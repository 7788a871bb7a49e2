// Part of the Compare page: one heat map per experiment, tensors by layers, on a common colour
// scale. GUI thread only.
#pragma once

#include <QWidget>

#include "ui/models/compared_experiments.h"

class QComboBox;
class QLabel;
class QVBoxLayout;

namespace fettle::ui {

class LayerHeatMap;

class CompareLayers : public QWidget {
    Q_OBJECT

public:
    explicit CompareLayers(QWidget* parent = nullptr);
    void setExperiments(const ComparedExperiments& experiments);
    QComboBox* metricChoice() const { return m_metric; }
    const std::vector<LayerHeatMap*>& maps() const { return m_maps; }

signals:
    void tensorActivated(const QString& tensor);

private:
    void showMetric();

    ComparedExperiments m_experiments;
    QComboBox* m_metric;
    QLabel* m_note;
    QVBoxLayout* m_column;
    std::vector<LayerHeatMap*> m_maps;
};

}  // namespace fettle::ui
