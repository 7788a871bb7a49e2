#include "ui/pages/explore_detail_panel.h"

#include <QDateTime>
#include <QGridLayout>
#include <QKeyEvent>
#include <QLabel>
#include <QLineEdit>
#include <QLocale>
#include <QMenu>
#include <QPushButton>
#include <QScrollArea>
#include <QStackedWidget>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/models/allocation_model.h"
#include "ui/models/experiment_comparison.h"
#include "ui/pages/explore_annotations.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

QLabel* richLabel(QWidget* parent) {
    auto* label = new QLabel(parent);
    label->setTextFormat(Qt::RichText);
    label->setWordWrap(true);
    label->setAlignment(Qt::AlignTop | Qt::AlignLeft);
    label->setTextInteractionFlags(Qt::TextSelectableByMouse);
    return label;
}

}  // namespace

ExploreDetailPanel::ExploreDetailPanel(QWidget* parent)
    : QFrame(parent),
      m_theme(ChartTheme::fromPalette(palette())),
      m_head(new QWidget(this)),
      m_title(new QStackedWidget(m_head)),
      m_star(new QToolButton(m_head)),
      m_annotations(new ExploreAnnotations(this)),
      m_name(makeLabel({}, TextRole::Heading)),
      m_nameEdit(new QLineEdit),
      m_subtitle(makeLabel({}, TextRole::Caption, this)),
      m_verdictCard(new QFrame(this)),
      m_verdict(new QLabel(m_verdictCard)),
      m_body(richLabel(nullptr)),
      m_hint(
          makeLabel(tr("Select an experiment in the chart or the table to see what it changed.\n\n"
                       "Select two to four to compare them."),
                    TextRole::Caption, this)),
      m_scroll(new QScrollArea(this)),
      m_actions(new QWidget(this)) {
    setStyleClass(this, "panel");
    setMinimumWidth(264);
    setFrameShape(QFrame::NoFrame);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(14, 12, 14, 12);
    column->setSpacing(kGap);
    m_name->setWordWrap(true);
    m_name->setTextFormat(Qt::PlainText);
    m_name->setObjectName(QStringLiteral("detailName"));
    m_name->setTextInteractionFlags(Qt::TextSelectableByMouse);
    m_nameEdit->setObjectName(QStringLiteral("renameEdit"));
    m_nameEdit->setAccessibleName(tr("Name of the experiment"));
    m_nameEdit->installEventFilter(this);
    m_title->addWidget(m_name);
    m_title->addWidget(m_nameEdit);
    m_title->setSizePolicy(QSizePolicy::Preferred, QSizePolicy::Maximum);
    auto* head = new QHBoxLayout(m_head);
    head->setContentsMargins(0, 0, 0, 0);
    head->setSpacing(4);
    head->addWidget(m_title, 1);
    m_star->setObjectName(QStringLiteral("starButton"));
    m_star->setCheckable(true);
    m_star->setAccessibleName(tr("Favourite"));
    m_star->setFocusPolicy(Qt::StrongFocus);
    setStyleClass(m_star, "star");
    head->addWidget(m_star, 0, Qt::AlignTop);
    m_head->setSizePolicy(QSizePolicy::Preferred, QSizePolicy::Maximum);
    column->addWidget(m_head);
    m_subtitle->setWordWrap(true);
    column->addWidget(m_subtitle);
    setStyleClass(m_verdictCard, "tile");
    auto* card = new QVBoxLayout(m_verdictCard);
    card->setContentsMargins(10, 8, 10, 8);
    m_verdict->setWordWrap(true);
    m_verdict->setObjectName(QStringLiteral("verdict"));
    m_verdict->setTextFormat(Qt::PlainText);
    m_verdict->setTextInteractionFlags(Qt::TextSelectableByMouse);
    card->addWidget(m_verdict);
    m_hint->setWordWrap(true);
    m_hint->setAlignment(Qt::AlignTop);
    column->addWidget(m_hint, 1);
    auto* content = new QWidget;
    auto* inside = new QVBoxLayout(content);
    inside->setContentsMargins(0, 0, 4, 0);
    inside->setSpacing(kGap);
    inside->addWidget(m_verdictCard);
    inside->addWidget(m_annotations);
    inside->addWidget(m_body, 1);
    m_scroll->setWidget(content);
    m_scroll->setWidgetResizable(true);
    // The card shows through: setWidget() turned filling on.
    content->setAutoFillBackground(false);
    m_scroll->viewport()->setAutoFillBackground(false);
    m_scroll->setFrameShape(QFrame::NoFrame);
    m_scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAsNeeded);
    m_body->setObjectName(QStringLiteral("detailBody"));
    column->addWidget(m_scroll, 1);
    buildActions(*column);
    connect(m_star, &QToolButton::clicked, this, &ExploreDetailPanel::favouriteRequested);
    connect(m_annotations, &ExploreAnnotations::tagAdded, this,
            [this](const QString& tag) { emit tagRequested(tag, true); });
    connect(m_annotations, &ExploreAnnotations::tagRemoved, this,
            [this](const QString& tag) { emit tagRequested(tag, false); });
    connect(m_annotations, &ExploreAnnotations::noteChanged, this,
            &ExploreDetailPanel::noteRequested);
    connect(m_nameEdit, &QLineEdit::returnPressed, this, [this] { endRename(true); });
    setSelection({});
}

void ExploreDetailPanel::buildActions(QVBoxLayout& column) {
    const auto button = [&](const char* name, const QString& text, auto signal) {
        auto* made = new QPushButton(text, m_actions);
        made->setObjectName(QLatin1String(name));
        connect(made, &QPushButton::clicked, this, signal);
        return made;
    };
    m_open = button("openButton", tr("Open"), &ExploreDetailPanel::openRequested);
    m_compare = button("compareButton", tr("Compare"), &ExploreDetailPanel::compareRequested);
    setStyleClass(m_open, "primary");
    setStyleClass(m_compare, "primary");
    m_export = button("exportButton", tr("Export…"), &ExploreDetailPanel::exportRequested);
    m_rerun = button("rerunButton", tr("Run again"), &ExploreDetailPanel::rerunRequested);
    m_rename = button("renameButton", tr("Rename"), &ExploreDetailPanel::startRename);
    m_remove = button("removeButton", tr("Remove"), &ExploreDetailPanel::removeRequested);
    m_allocate =
        button("allocateButton", tr("Allocate bits…"), &ExploreDetailPanel::allocationRequested);
    m_allocate->setToolTip(
        tr("This run measured what each weight can bear: choose another budget from its scores"));
    m_copy = new QPushButton(tr("Copy"), m_actions);
    m_copy->setObjectName(QStringLiteral("copyButton"));
    setStyleClass(m_copy, "menu");
    auto* menu = new QMenu(m_copy);
    menu->addAction(tr("Numbers as CSV"), this, &ExploreDetailPanel::copyCsvRequested);
    menu->addAction(tr("Chart as image"), this, &ExploreDetailPanel::copyImageRequested);
    menu->addAction(tr("Chart as SVG"), this, &ExploreDetailPanel::copySvgRequested);
    menu->addAction(tr("Save chart as PNG, SVG or CSV…"), this,
                    &ExploreDetailPanel::saveImageRequested);
    m_copy->setMenu(menu);
    auto* grid = new QGridLayout(m_actions);
    grid->setContentsMargins(0, 4, 0, 0);
    grid->setSpacing(6);
    grid->addWidget(m_open, 0, 0);
    grid->addWidget(m_compare, 0, 0);
    grid->addWidget(m_export, 0, 1);
    grid->addWidget(m_rerun, 1, 0);
    grid->addWidget(m_rename, 1, 1);
    grid->addWidget(m_copy, 2, 0);
    grid->addWidget(m_remove, 2, 1);
    grid->addWidget(m_allocate, 3, 0, 1, 2);
    column.addWidget(m_actions);
}

void ExploreDetailPanel::setReadOnly(bool readOnly) {
    m_readOnly = readOnly;
    m_annotations->setReadOnly(readOnly);
}

void ExploreDetailPanel::setKnownTags(const QStringList& tags) {
    m_annotations->setKnownTags(tags);
}

void ExploreDetailPanel::startTag() {
    m_annotations->startTag();
}

void ExploreDetailPanel::startNote() {
    m_annotations->startNote();
}

void ExploreDetailPanel::showStar(const std::vector<SelectedExperiment>& selected) {
    const bool all = std::all_of(
        selected.begin(), selected.end(),
        [](const SelectedExperiment& one) { return one.record->annotations.favourite; });
    m_star->setChecked(all);
    m_star->setIcon(all ? themedIcon(QStringLiteral("star-filled"), IconTint::Warning)
                        : themedIcon(QStringLiteral("star"), IconTint::Muted));
    const QString words =
        all ? tr("Take the star away (Ctrl+D)") : tr("Make it a favourite (Ctrl+D)");
    m_star->setToolTip(m_readOnly ? tr("The database is open for reading only") : words);
    m_star->setEnabled(!m_readOnly);
}

void ExploreDetailPanel::setTheme(const ChartTheme& theme) {
    m_theme = theme;
}

QString ExploreDetailPanel::verdictText() const {
    return m_verdict->text();
}

void ExploreDetailPanel::setSelection(const std::vector<SelectedExperiment>& selected) {
    endRename(false);
    m_count = selected.size();
    const bool any = m_count > 0;
    for (QWidget* widget : std::initializer_list<QWidget*>{m_head, m_subtitle, m_verdictCard,
                                                           m_annotations, m_scroll, m_actions}) {
        widget->setVisible(any);
    }
    std::vector<const ExperimentRecord*> records;
    for (const SelectedExperiment& one : selected) {
        records.push_back(one.record);
    }
    m_annotations->setSelection(records);
    m_hint->setVisible(!any);
    if (!any) {
        m_verdict->clear();
        return;
    }
    showStar(selected);
    const ExperimentRecord& first = *selected.front().record;
    m_open->setVisible(m_count == 1);
    m_compare->setVisible(m_count > 1);
    m_compare->setEnabled(m_count <= 4);
    m_compare->setToolTip(m_count > 4 ? tr("Two to four experiments can be compared") : QString());
    m_export->setEnabled(m_count == 1 && first.status == ExperimentStatus::Finished);
    m_rerun->setEnabled(m_count == 1 && !m_readOnly && first.status != ExperimentStatus::Running &&
                        first.status != ExperimentStatus::Queued);
    m_allocate->setVisible(m_count == 1 && mayHoldScores(first));
    m_rename->setEnabled(m_count == 1 && !m_readOnly);
    m_remove->setEnabled(!m_readOnly);
    const QString why = m_readOnly ? tr("The database is open for reading only") : QString();
    for (QPushButton* made : {m_rerun, m_rename, m_remove}) {
        made->setToolTip(why);
    }
    m_count == 1 ? showOne(selected.front()) : showSeveral(selected);
}

void ExploreDetailPanel::showOne(const SelectedExperiment& selected) {
    const ExperimentRecord& record = *selected.record;
    m_name->setText(QString::fromStdString(record.name));
    QStringList about{QString::fromStdString(record.modelName),
                      QString::fromStdString(record.device), statusTitle(record.status)};
    if (record.finishedMs > 0) {
        about << QLocale().toString(QDateTime::fromMSecsSinceEpoch(record.finishedMs),
                                    QLocale::ShortFormat);
    }
    about.removeAll(QString());
    m_subtitle->setText(about.join(QStringLiteral(" · ")));
    m_verdict->setText(verdict(record, selected.baseline));
    m_body->setText(detailHtml(record, selected.baseline, m_theme));
}

void ExploreDetailPanel::showSeveral(const std::vector<SelectedExperiment>& selected) {
    m_name->setText(tr("%1 selected").arg(m_count));
    m_subtitle->setText(m_count > 4 ? tr("Select two to four to compare them.")
                                    : tr("Settings that all share are left out."));
    m_verdictCard->hide();
    m_verdict->clear();
    m_body->setText(m_count > 4 ? QString() : comparisonHtml(selected, m_theme));
}

void ExploreDetailPanel::startRename() {
    if (m_count != 1 || m_readOnly) {
        return;
    }
    m_nameEdit->setText(m_name->text());
    m_title->setCurrentWidget(m_nameEdit);
    m_nameEdit->selectAll();
    m_nameEdit->setFocus();
}

void ExploreDetailPanel::endRename(bool keep) {
    if (m_title->currentWidget() != m_nameEdit) {
        return;
    }
    m_title->setCurrentWidget(m_name);
    const QString name = m_nameEdit->text().simplified();
    if (keep && !name.isEmpty()) {
        emit renamed(name);
    }
}

bool ExploreDetailPanel::eventFilter(QObject* watched, QEvent* event) {
    if (watched == m_nameEdit && event->type() == QEvent::KeyPress &&
        static_cast<QKeyEvent*>(event)->key() == Qt::Key_Escape) {
        endRename(false);
        return true;
    }
    if (watched == m_nameEdit && event->type() == QEvent::FocusOut) {
        endRename(false);
    }
    return QFrame::eventFilter(watched, event);
}

}  // namespace fettle::ui
