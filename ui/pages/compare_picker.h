// Chooses experiments to compare: a list with a filter, for thousands. GUI thread only.
#pragma once

#include <QDialog>
#include <vector>

#include "ui/bridge/experiment_list.h"

class QLabel;
class QLineEdit;
class QListView;
class QPushButton;
class QSortFilterProxyModel;
class QStandardItemModel;

namespace fettle::ui {

class ComparePicker : public QDialog {
    Q_OBJECT

public:
    /// Offers `records` but those of `taken`; at least `least` and at most `most` are to be chosen.
    ComparePicker(const ExperimentList& records, const std::vector<qint64>& taken, int least,
                  int most, QWidget* parent = nullptr);
    std::vector<qint64> chosen() const;
    QListView* list() const { return m_list; }
    QLineEdit* filter() const { return m_filter; }

private:
    void updateState();

    int m_least;
    int m_most;
    QStandardItemModel* m_items;
    QSortFilterProxyModel* m_filtered;
    QLineEdit* m_filter;
    QListView* m_list;
    QLabel* m_note;
    QPushButton* m_accept;
};

}  // namespace fettle::ui
