// The Explore page: every experiment as a point and as a row, linked both ways, with the details of the selection.
// Talks to the store through ExperimentService only; what starts work elsewhere leaves as a signal. GUI thread.
#pragma once

#include <QWidget>
#include <vector>

namespace fettle::ui {

class ExperimentService;

class ExplorePage : public QWidget {
    Q_OBJECT

public:
    /// `service` must outlive the page.
    explicit ExplorePage(ExperimentService* service, QWidget* parent = nullptr);
    ~ExplorePage() override;

signals:
    void experimentActivated(qint64 id);
    void exportRequested(qint64 id);
    void rerunRequested(qint64 id);
    void compareRequested(const std::vector<qint64>& ids);

private:
    ExperimentService* m_service;
};

}  // namespace fettle::ui
