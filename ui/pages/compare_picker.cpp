#include "ui/pages/compare_picker.h"

#include <QDialogButtonBox>
#include <QLabel>
#include <QLineEdit>
#include <QListView>
#include <QPushButton>
#include <QSortFilterProxyModel>
#include <QStandardItemModel>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/widgets/theme.h"

namespace fettle::ui {

ComparePicker::ComparePicker(const ExperimentList& records, const std::vector<qint64>& taken,
                             int least, int most, QWidget* parent)
    : QDialog(parent),
      m_least(least),
      m_most(most),
      m_items(new QStandardItemModel(this)),
      m_filtered(new QSortFilterProxyModel(this)),
      m_filter(new QLineEdit(this)),
      m_list(new QListView(this)),
      m_note(makeLabel({}, TextRole::Caption, this)) {
    setWindowTitle(tr("Choose experiments to compare"));
    resize(520, 460);
    for (auto record = records.rbegin(); record != records.rend(); ++record) {  // newest first
        if (record->status != ExperimentStatus::Finished ||
            std::find(taken.begin(), taken.end(), record->id) != taken.end()) {
            continue;
        }
        auto* item = new QStandardItem(QStringLiteral("%1   ·   %2 · %3")
                                           .arg(QString::fromStdString(record->name),
                                                QString::fromStdString(record->summary()),
                                                QString::fromStdString(record->modelName)));
        item->setData(static_cast<qlonglong>(record->id), Qt::UserRole);
        item->setEditable(false);
        m_items->appendRow(item);
    }
    m_filtered->setSourceModel(m_items);
    m_filtered->setFilterCaseSensitivity(Qt::CaseInsensitive);
    m_filter->setPlaceholderText(tr("Filter by name, recipe or model"));
    m_filter->setClearButtonEnabled(true);
    m_filter->setAccessibleName(tr("Filter experiments"));
    m_list->setModel(m_filtered);
    m_list->setUniformItemSizes(true);
    m_list->setSelectionMode(QAbstractItemView::ExtendedSelection);
    m_list->setAccessibleName(tr("Finished experiments"));
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Cancel, this);
    m_accept = buttons->addButton(tr("Compare"), QDialogButtonBox::AcceptRole);
    setStyleClass(m_accept, "primary");
    auto* column = new QVBoxLayout(this);
    column->addWidget(m_filter);
    column->addWidget(m_list, 1);
    column->addWidget(m_note);
    column->addWidget(buttons);
    connect(m_filter, &QLineEdit::textChanged, m_filtered,
            &QSortFilterProxyModel::setFilterFixedString);
    connect(m_list->selectionModel(), &QItemSelectionModel::selectionChanged, this,
            &ComparePicker::updateState);
    connect(m_list, &QListView::doubleClicked, this, [this] {
        if (m_accept->isEnabled()) {
            accept();
        }
    });
    connect(buttons, &QDialogButtonBox::accepted, this, &QDialog::accept);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    updateState();
}

std::vector<qint64> ComparePicker::chosen() const {
    std::vector<qint64> ids;
    for (const QModelIndex& index : m_list->selectionModel()->selectedIndexes()) {
        ids.push_back(index.data(Qt::UserRole).toLongLong());
    }
    return ids;
}

void ComparePicker::updateState() {
    const int count = static_cast<int>(m_list->selectionModel()->selectedIndexes().size());
    m_accept->setEnabled(count >= m_least && count <= m_most);
    if (m_items->rowCount() < m_least) {
        m_note->setText(tr("There are not enough finished experiments. Run a recipe first."));
    } else if (m_least == m_most || m_most == 1) {
        m_note->setText(tr("Choose one."));
    } else {
        m_note->setText(tr("%1 chosen; %2 to %3 can be. Hold Ctrl to choose several.")
                            .arg(count)
                            .arg(m_least)
                            .arg(m_most));
    }
}

}  // namespace fettle::ui
