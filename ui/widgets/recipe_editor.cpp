#include "ui/widgets/recipe_editor.h"

#include <QDragEnterEvent>
#include <QDropEvent>
#include <QMimeData>
#include <QPainter>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/models/recipe_model.h"
#include "ui/widgets/empty_state.h"
#include "ui/widgets/technique_card.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

RecipeEditor::RecipeEditor(RecipeModel* model, QWidget* parent)
    : QWidget(parent),
      m_model(model),
      m_column(new QVBoxLayout(this)),
      m_empty(
          new EmptyState(QStringLiteral("recipe"), tr("This recipe has no steps yet"),
                         tr("Begin with a preset, or add techniques one by one. They are applied "
                            "from top to bottom. "
                            "Without any step, a run measures the model as it is: the baseline."),
                         this)) {
    m_column->setContentsMargins(0, 0, 0, 0);
    m_column->setSpacing(10);
    m_column->addWidget(m_empty, 1);
    m_column->addStretch(0);
    setAcceptDrops(true);
    setAccessibleName(tr("Steps of the recipe"));

    connect(model, &QAbstractItemModel::modelReset, this, &RecipeEditor::rebuild);
    connect(model, &QAbstractItemModel::rowsInserted, this,
            [this](const QModelIndex&, int first, int last) {
                for (int row = first; row <= last; ++row) {
                    insertCard(row);
                }
                renumber();
            });
    connect(model, &QAbstractItemModel::rowsRemoved, this,
            [this](const QModelIndex&, int first, int last) {
                for (int row = last; row >= first; --row) {
                    TechniqueCard* card = m_cards[static_cast<std::size_t>(row)];
                    m_cards.erase(m_cards.begin() + row);
                    m_column->removeWidget(card);
                    card->hide();
                    card->deleteLater();
                }
                renumber();
            });
    connect(model, &QAbstractItemModel::rowsMoved, this,
            [this](const QModelIndex&, int from, int, const QModelIndex&, int before) {
                const int to = before > from ? before - 1 : before;
                TechniqueCard* card = m_cards[static_cast<std::size_t>(from)];
                m_cards.erase(m_cards.begin() + from);
                m_cards.insert(m_cards.begin() + to, card);
                m_column->removeWidget(card);
                m_column->insertWidget(to, card);
                renumber();
            });
    connect(model, &QAbstractItemModel::dataChanged, this,
            [this](const QModelIndex& first, const QModelIndex& last) {
                for (int row = first.row(); row <= last.row(); ++row) {
                    refreshCard(row);
                }
            });
    rebuild();
}

void RecipeEditor::rebuild() {
    for (TechniqueCard* card : m_cards) {
        m_column->removeWidget(card);
        card->hide();
        card->deleteLater();
    }
    m_cards.clear();
    for (int row = 0; row < m_model->rowCount(); ++row) {
        insertCard(row);
    }
    renumber();
}

void RecipeEditor::insertCard(int row) {
    auto* card =
        new TechniqueCard(m_model->descriptorAt(row), m_model->index(row).data().toString(), this);
    connect(card, &TechniqueCard::edited, this,
            [this, card](const std::string& name, const nlohmann::json& value) {
                m_model->setParam(rowOf(card), name, value);
            });
    connect(card, &TechniqueCard::resetRequested, this,
            [this, card](const std::string& name) { m_model->resetParam(rowOf(card), name); });
    connect(card, &TechniqueCard::sweepRequested, this,
            [this, card](const std::string& name) { emit sweepRequested(rowOf(card), name); });
    // Queued: the card must not vanish while its own button is still handling the click. By then
    // another click may have taken its step away, so it is asked for its row only then.
    connect(
        card, &TechniqueCard::duplicateRequested, this,
        [this, card] { m_model->duplicateStep(rowOf(card)); }, Qt::QueuedConnection);
    connect(
        card, &TechniqueCard::removeRequested, this,
        [this, card] { m_model->removeStep(rowOf(card)); }, Qt::QueuedConnection);
    connect(card, &TechniqueCard::moveRequested, this,
            [this, card](int to) { m_model->moveStep(rowOf(card), to); });
    m_cards.insert(m_cards.begin() + row, card);
    m_column->insertWidget(row, card);
    refreshCard(row);
}

int RecipeEditor::rowOf(const TechniqueCard* card) const {
    const auto found = std::find(m_cards.begin(), m_cards.end(), card);
    return found == m_cards.end() ? -1 : static_cast<int>(found - m_cards.begin());
}

void RecipeEditor::refreshCard(int row) {
    TechniqueCard* card = m_cards[static_cast<std::size_t>(row)];
    card->setValues(m_model->recipe().steps[static_cast<std::size_t>(row)].params);
    card->setProblems(m_model->problems(row));
}

void RecipeEditor::renumber() {
    const int count = static_cast<int>(m_cards.size());
    for (int row = 0; row < count; ++row) {
        m_cards[static_cast<std::size_t>(row)]->setPosition(row, count);
    }
    m_empty->setVisible(count == 0);
    m_column->setStretch(m_column->count() - 1, count == 0 ? 0 : 1);
}

int RecipeEditor::gapAt(int y) const {
    int gap = 0;
    for (const TechniqueCard* card : m_cards) {
        if (y > card->geometry().center().y()) {
            ++gap;
        }
    }
    return gap;
}

void RecipeEditor::setGap(int gap) {
    m_gap = gap;
    update();
}

void RecipeEditor::dragEnterEvent(QDragEnterEvent* event) {
    if (event->mimeData()->hasFormat(QLatin1String(TechniqueCard::kMimeType))) {
        event->acceptProposedAction();
    }
}

void RecipeEditor::dragMoveEvent(QDragMoveEvent* event) {
    setGap(gapAt(event->position().toPoint().y()));
    event->acceptProposedAction();
}

void RecipeEditor::dragLeaveEvent(QDragLeaveEvent*) {
    setGap(-1);
}

void RecipeEditor::dropEvent(QDropEvent* event) {
    const int from = event->mimeData()->data(QLatin1String(TechniqueCard::kMimeType)).toInt();
    const int gap = gapAt(event->position().toPoint().y());
    setGap(-1);
    event->acceptProposedAction();
    m_model->moveStep(from, gap > from ? gap - 1 : gap);
}

void RecipeEditor::paintEvent(QPaintEvent*) {
    if (m_gap < 0 || m_cards.empty()) {
        return;
    }
    const auto at = static_cast<std::size_t>(m_gap);
    const int y = at < m_cards.size() ? m_cards[at]->geometry().top() - 6
                                      : m_cards.back()->geometry().bottom() + 4;
    QPainter painter(this);
    painter.setPen(Qt::NoPen);
    painter.setBrush(themeColors().accent);
    painter.drawRoundedRect(QRect(0, std::max(0, y), width(), 3), 1.5, 1.5);
}

}  // namespace fettle::ui
