#include "ui/pages/library_page.h"

#include <QDragEnterEvent>
#include <QDropEvent>
#include <QFileDialog>
#include <QFormLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QLocale>
#include <QMenu>
#include <QMimeData>
#include <QPushButton>
#include <QToolButton>
#include <QTreeView>
#include <QUrl>
#include <QVBoxLayout>
#include <utility>

#include "ui/bridge/job_controller.h"
#include "ui/models/library_model.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/item_delegates.h"
#include "ui/widgets/recent_files.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

QString parametersText(quint64 count) {
    const double number = static_cast<double>(count);
    if (number >= 1e9) {
        return LibraryPage::tr("%1 B").arg(number / 1e9, 0, 'f', 2);
    }
    return number >= 1e6 ? LibraryPage::tr("%1 M").arg(number / 1e6, 0, 'f', 1)
                         : QLocale().toString(count);
}

QString detailText(const ModelReport& report) {
    return LibraryPage::tr("%1, %2 parameters, %3")
        .arg(QString::fromStdString(report.architecture), parametersText(report.parameters),
             QString::fromStdString(formatBytes(static_cast<double>(report.fileBytes))));
}

}  // namespace

LibraryPage::LibraryPage(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_model(new LibraryModel(this)),
      m_view(new QTreeView(this)),
      m_facts(new QFrame(this)),
      m_factRows(new QFormLayout),
      m_factsTitle(makeLabel({}, TextRole::Heading, m_facts)),
      m_hint(makeLabel({}, TextRole::Caption, m_facts)) {
    setAcceptDrops(true);
    setMinimumWidth(200);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(8, 0, 2, 8);
    column->setSpacing(kGap);

    auto* bar = new QHBoxLayout;
    auto* add = new QPushButton(themedIcon(QStringLiteral("add")), tr("&Add"), this);
    setStyleClass(add, "menu");
    add->setToolTip(tr("Add a model, a text or a task set; or drop it here"));
    auto* menu = new QMenu(add);
    menu->addAction(themedIcon(QStringLiteral("folder")), tr("Model &folder…"), this,
                    &LibraryPage::chooseFolder);
    menu->addAction(themedIcon(QStringLiteral("file")), tr("&Model file, text or task set…"), this,
                    &LibraryPage::chooseFiles);
    add->setMenu(menu);
    m_remove = new QToolButton(this);
    m_remove->setIcon(themedIcon(QStringLiteral("trash")));
    m_remove->setToolTip(tr("Remove from the library (the file stays)"));
    m_remove->setAccessibleName(m_remove->toolTip());
    connect(m_remove, &QToolButton::clicked, this, &LibraryPage::removeCurrent);
    bar->addWidget(add);
    bar->addStretch();
    bar->addWidget(m_remove);
    column->addLayout(bar);

    m_view->setModel(m_model);
    m_view->setItemDelegate(new LibraryDelegate(m_view));
    m_view->setHeaderHidden(true);
    m_view->setIndentation(0);
    m_view->setRootIsDecorated(false);
    m_view->setItemsExpandable(false);
    m_view->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    m_view->setContextMenuPolicy(Qt::CustomContextMenu);
    m_view->setAccessibleName(tr("Library"));
    column->addWidget(m_view, 1);

    setStyleClass(m_facts, "card");
    auto* facts = new QVBoxLayout(m_facts);
    facts->setContentsMargins(12, 10, 12, 10);
    facts->setSpacing(6);
    m_factsTitle->setMinimumWidth(40);
    facts->addWidget(m_factsTitle);
    m_hint->setWordWrap(true);
    facts->addWidget(m_hint);
    m_factRows->setHorizontalSpacing(12);
    m_factRows->setVerticalSpacing(2);
    m_factRows->setRowWrapPolicy(QFormLayout::WrapLongRows);  // the column may be narrow
    facts->addLayout(m_factRows);
    auto* actions = new QVBoxLayout;  // one below the other: the column may be narrow
    actions->setSpacing(6);
    m_use = new QPushButton(tr("&Use in recipe"), m_facts);
    m_inspect = new QPushButton(tr("&Inspect"), m_facts);
    actions->addWidget(m_use);
    actions->addWidget(m_inspect);
    facts->addLayout(actions);
    column->addWidget(m_facts);

    connect(m_use, &QPushButton::clicked, this, [this] {
        emit modelChosen(m_view->currentIndex().data(LibraryModel::PathRole).toString());
    });
    connect(m_inspect, &QPushButton::clicked, this, [this] {
        emit inspectRequested(m_view->currentIndex().data(LibraryModel::PathRole).toString());
    });
    connect(m_view->selectionModel(), &QItemSelectionModel::currentChanged, this,
            &LibraryPage::showCurrent);
    connect(m_view, &QTreeView::activated, this, [this](const QModelIndex& index) {
        const LibraryItem* item = m_model->item(index);
        if (item && item->kind == LibraryItem::Kind::Model) {
            emit inspectRequested(item->path);
        }
    });
    connect(m_view, &QTreeView::customContextMenuRequested, this, &LibraryPage::showMenu);
    connect(jobs->experiments(), &ExperimentService::libraryChanged, this, &LibraryPage::reload);
    clearFacts({});
    showCurrent();
}

void LibraryPage::reload() {
    const QString current = m_selectAfterReload.isEmpty()
                                ? m_view->currentIndex().data(LibraryModel::PathRole).toString()
                                : m_selectAfterReload;
    m_selectAfterReload.clear();
    m_model->setItems(m_jobs->experiments()->library());
    m_view->expandAll();
    QModelIndex index = m_model->indexOfPath(current);
    if (!index.isValid()) {
        index = m_model->index(0, 0, m_model->section(LibraryItem::Kind::Model));
    }
    m_view->setCurrentIndex(index);
    showCurrent();
}

const ModelReport* LibraryPage::report(const QString& path) const {
    const auto found = m_reports.constFind(path);
    return found == m_reports.constEnd() ? nullptr : &*found;
}

void LibraryPage::addPaths(const QStringList& paths) {
    for (const QString& path : paths) {
        addOne(path);
    }
}

void LibraryPage::addOne(const QString& path) {
    const PathClass found = classifyPath(path);
    if (!found.kind) {
        emit errorOccurred(tr("Not added"), found.error);
        return;
    }
    rememberFile(path);
    LibraryItem item = libraryItemFor(path, *found.kind);
    if (item.kind != LibraryItem::Kind::Model) {
        store(std::move(item));
        return;
    }
    // A model enters the library only after the engine could read it.
    m_jobs->ask(
        InspectRequest{item.path.toStdString()}, this,
        [this, item](const JobResult& result) {
            if (const auto* model = std::get_if<ModelReport>(&result)) {
                m_reports.insert(item.path, *model);
                LibraryItem known = item;
                known.detail = detailText(*model);
                store(std::move(known));
            }
        },
        [this](const ErrorInfo& error) {
            emit errorOccurred(tr("Not added"), QString::fromStdString(error.message));
        });
}

void LibraryPage::store(LibraryItem item) {
    const QString name = item.name;
    m_selectAfterReload = item.path;
    m_jobs->experiments()->addToLibrary(std::move(item));
    emit added(name);
}

void LibraryPage::removeCurrent() {
    const LibraryItem* item = m_model->item(m_view->currentIndex());
    if (item && !item->bundled) {
        m_jobs->experiments()->removeFromLibrary(item->id);
    }
}

void LibraryPage::clearFacts(const QString& text) {
    while (m_factRows->rowCount() > 0) {
        m_factRows->removeRow(0);
    }
    m_hint->setText(text);
    m_hint->setVisible(!text.isEmpty());
}

void LibraryPage::showCurrent() {
    const LibraryItem* item = m_model->item(m_view->currentIndex());
    const bool isModel = item && item->kind == LibraryItem::Kind::Model;
    m_remove->setEnabled(item && !item->bundled);
    m_use->setVisible(isModel);
    m_inspect->setVisible(isModel);
    m_use->setEnabled(isModel && !item->missing);
    m_inspect->setEnabled(isModel && !item->missing);
    m_factsTitle->setText(item ? item->name : tr("Nothing chosen"));
    if (!item) {
        clearFacts(
            tr("Choose an entry, or drop a model folder, a .gguf file, a text or a .jsonl task set "
               "onto this list."));
        return;
    }
    if (item->missing) {
        clearFacts(tr("%1 is gone. Put it back, or remove the entry.").arg(item->path));
        return;
    }
    if (!isModel) {
        clearFacts(item->detail + QLatin1Char('\n') + item->path);
        return;
    }
    if (const ModelReport* known = report(item->path)) {
        showFacts(*known);
        return;
    }
    clearFacts(tr("Reading the model…"));
    const QString path = item->path;
    const auto current = [this, path] {
        return m_view->currentIndex().data(LibraryModel::PathRole).toString() == path;
    };
    m_jobs->ask(
        InspectRequest{path.toStdString()}, this,
        [this, path, current](const JobResult& result) {
            if (const auto* model = std::get_if<ModelReport>(&result)) {
                m_reports.insert(path, *model);
                if (current()) {
                    showFacts(*model);
                }
            }
        },
        [this, current](const ErrorInfo& error) {
            if (current()) {
                clearFacts(QString::fromStdString(error.message));
            }
        });
}

void LibraryPage::showFacts(const ModelReport& report) {
    clearFacts({});
    const auto row = [&](const QString& title, const QString& value) {
        QLabel* label = makeLabel(value, TextRole::Body, m_facts);
        label->setTextInteractionFlags(Qt::TextSelectableByMouse);
        label->setWordWrap(true);
        m_factRows->addRow(makeLabel(title, TextRole::Caption, m_facts), label);
    };
    row(tr("Architecture"), QString::fromStdString(report.architecture));
    row(tr("Parameters"), parametersText(report.parameters));
    row(tr("Layers"), QStringLiteral("%1 × %2").arg(report.layers).arg(report.hiddenSize));
    row(tr("Weights"),
        tr("%1, %2").arg(
            QString::fromStdString(formatBytes(static_cast<double>(report.weightBytes))),
            QString::fromStdString(report.scheme.empty() ? report.dtype : report.scheme)));
    row(tr("Context"),
        tr("%1 tokens").arg(QLocale().toString(static_cast<qlonglong>(report.contextLength))));
}

void LibraryPage::showMenu(const QPoint& at) {
    const LibraryItem* item = m_model->item(m_view->indexAt(at));
    QMenu menu(this);
    if (item && item->kind == LibraryItem::Kind::Model) {
        menu.addAction(tr("Use in recipe"), m_use, &QPushButton::click);
        menu.addAction(tr("Inspect"), m_inspect, &QPushButton::click);
        menu.addSeparator();
    }
    if (item && !item->bundled) {
        menu.addAction(themedIcon(QStringLiteral("trash")), tr("Remove from the library"), this,
                       &LibraryPage::removeCurrent);
    }
    menu.addAction(themedIcon(QStringLiteral("folder")), tr("Add a model folder…"), this,
                   &LibraryPage::chooseFolder);
    menu.addAction(themedIcon(QStringLiteral("file")), tr("Add files…"), this,
                   &LibraryPage::chooseFiles);
    menu.exec(m_view->viewport()->mapToGlobal(at));
}

void LibraryPage::chooseFolder() {
    const QString path = QFileDialog::getExistingDirectory(this, tr("Add a model folder"));
    if (!path.isEmpty()) {
        addOne(path);
    }
}

void LibraryPage::chooseFiles() {
    addPaths(QFileDialog::getOpenFileNames(
        this, tr("Add files"), {},
        tr("Models, texts, task sets (*.gguf *.txt *.md *.jsonl);;All files (*)")));
}

QStringList LibraryPage::pathsOf(const QMimeData* mime) {
    QStringList paths;
    for (const QUrl& url : mime->urls()) {
        if (url.isLocalFile()) {
            paths << url.toLocalFile();
        }
    }
    return paths;
}

void LibraryPage::dragEnterEvent(QDragEnterEvent* event) {
    if (!pathsOf(event->mimeData()).isEmpty()) {
        setStyleClass(m_facts, "drop-hint");
        event->acceptProposedAction();
    }
}

void LibraryPage::dragLeaveEvent(QDragLeaveEvent*) {
    setStyleClass(m_facts, "card");
}

void LibraryPage::dropEvent(QDropEvent* event) {
    setStyleClass(m_facts, "card");
    event->acceptProposedAction();
    addPaths(pathsOf(event->mimeData()));
}

}  // namespace fettle::ui
