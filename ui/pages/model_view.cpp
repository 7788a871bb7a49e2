#include "ui/pages/model_view.h"

#include <QGridLayout>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QLocale>
#include <QMenu>
#include <QPushButton>
#include <QSplitter>
#include <QStackedWidget>
#include <QTabWidget>
#include <QTableView>
#include <QVBoxLayout>
#include <utility>
#include <vector>

#include "ui/bridge/engine_text.h"
#include "ui/bridge/job_controller.h"
#include "ui/charts/model_graph.h"
#include "ui/models/recipe_marks.h"
#include "ui/models/tensor_table_model.h"
#include "ui/pages/model_layers.h"
#include "ui/widgets/elided_label.h"
#include "ui/widgets/empty_state.h"
#include "ui/widgets/histogram_view.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

ModelView::ModelView(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_jobs(jobs),
      m_tensors(new TensorTableModel(this)),
      m_filtered(new TensorFilterModel(this)),
      m_stack(new QStackedWidget(this)),
      m_empty(new EmptyState(QStringLiteral("inspect"), tr("No model to inspect"),
                             tr("Choose a model in the library and press Inspect."), this)),
      m_title(makeLabel({}, TextRole::Title, this)),
      m_subtitle(makeLabel({}, TextRole::Caption, this)),
      m_warnings(makeLabel({}, TextRole::Body, this)),
      m_count(makeLabel({}, TextRole::Caption, this)),
      m_facts(new QGridLayout),
      m_filter(new QLineEdit(this)),
      m_table(new QTableView(this)),
      m_histogram(new HistogramView(this)),
      m_layers(new ModelLayers(jobs->experiments(), this)) {
    auto* outer = new QVBoxLayout(this);
    outer->setContentsMargins(0, 0, 0, 0);
    outer->addWidget(m_stack);
    m_stack->addWidget(m_empty);
    auto* page = new QWidget(this);
    m_stack->addWidget(page);
    auto* column = new QVBoxLayout(page);
    column->setContentsMargins(kGapWide, kGapWide, kGapWide, kGap);
    column->setSpacing(kGap);
    m_subtitle->setTextInteractionFlags(Qt::TextSelectableByMouse);
    m_warnings->setWordWrap(true);
    setStyleClass(m_warnings, "warning");
    column->addWidget(m_title);
    column->addWidget(m_subtitle);
    column->addWidget(m_warnings);
    m_facts->setSpacing(kGap);
    column->addLayout(m_facts);

    auto* split = new QSplitter(Qt::Horizontal, page);
    split->setChildrenCollapsible(false);
    m_views = new QTabWidget(split);
    m_views->setDocumentMode(true);
    m_views->addTab(buildTable(m_views), tr("Tensors"));
    m_views->addTab(m_layers, tr("Layers and memory"));
    split->addWidget(m_views);
    split->addWidget(buildTensor(split));
    split->setStretchFactor(0, 3);
    split->setStretchFactor(1, 2);
    split->setSizes({600, 420});
    column->addWidget(split, 1);
    connect(m_layers, &ModelLayers::tensorChosen, this, &ModelView::chooseTensor);
    connect(m_layers->graph(), &ModelGraph::nodeActivated, this, &ModelView::showNodeMenu);

    connect(m_filter, &QLineEdit::textChanged, this, [this](const QString& text) {
        m_filtered->setWords(text);
        updateCount();
    });
    connect(m_table->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
            &ModelView::askHistogram);
    connect(m_table->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
            &ModelView::updateExclude);
    m_histogram->setMessage(tr("Choose a tensor to see how its values are spread."));
}

QWidget* ModelView::buildTable(QWidget* parent) {
    auto* left = new QWidget(parent);
    auto* column = new QVBoxLayout(left);
    column->setContentsMargins(0, kGap, 4, 0);
    column->setSpacing(kGap);
    auto* bar = new QHBoxLayout;
    m_filter->setPlaceholderText(tr("Filter by name or type"));
    m_filter->setClearButtonEnabled(true);
    m_filter->setAccessibleName(tr("Filter tensors"));
    bar->addWidget(m_filter, 1);
    bar->addWidget(m_count);
    column->addLayout(bar);
    m_filtered->setSourceModel(m_tensors);
    m_table->setModel(m_filtered);
    m_table->setSortingEnabled(true);
    m_table->sortByColumn(-1, Qt::AscendingOrder);
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setSelectionMode(QAbstractItemView::SingleSelection);
    m_table->setShowGrid(false);
    m_table->verticalHeader()->hide();
    m_table->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 10);
    m_table->horizontalHeader()->setHighlightSections(false);
    m_table->setTextElideMode(Qt::ElideMiddle);
    m_table->setWordWrap(false);
    m_table->horizontalHeader()->setSectionResizeMode(QHeaderView::Interactive);
    m_table->horizontalHeader()->setSectionResizeMode(TensorTableModel::Name, QHeaderView::Stretch);
    m_table->setTabKeyNavigation(false);
    m_table->setAccessibleName(tr("Tensors"));
    column->addWidget(m_table, 1);
    return left;
}

QWidget* ModelView::buildTensor(QWidget* parent) {
    auto* right = new QFrame(parent);
    setStyleClass(right, "card");
    auto* column = new QVBoxLayout(right);
    column->setContentsMargins(12, 10, 12, 10);
    column->addWidget(m_histogram, 1);
    m_exclude = new QPushButton(tr("&Leave alone in the recipe"), right);
    m_exclude->setEnabled(false);
    m_exclude->setToolTip(
        tr("Steps of the recipe being edited that can leave tensors as they are "
           "will leave this one"));
    column->addWidget(m_exclude, 0, Qt::AlignLeft);
    connect(m_exclude, &QPushButton::clicked, this, [this] {
        const QModelIndex index = m_filtered->mapToSource(m_table->currentIndex());
        QStringList weights;
        for (const std::string& weight : m_tensors->tensor(index.row()).weights) {
            weights << QString::fromStdString(weight);
        }
        emit excludeRequested(weights);
    });
    return right;
}

void ModelView::chooseTensor(const QString& tensor) {
    m_filter->clear();
    for (int row = 0; row < m_tensors->rowCount(); ++row) {
        if (QString::fromStdString(m_tensors->tensor(row).name) == tensor) {
            const QModelIndex index = m_filtered->mapFromSource(m_tensors->index(row, 0));
            m_table->setCurrentIndex(index);
            m_table->scrollTo(index);
            return;
        }
    }
}

void ModelView::setRecipe(const Recipe& recipe) {
    m_recipe = recipe;
    m_layers->setRecipe(recipe);
}

void ModelView::showNodeMenu(std::size_t at, const QPoint& place) {
    ModelGraph* graph = m_layers->graph();
    const BlockNode& node = graph->graph().nodes[at];
    QStringList weights;
    for (const std::size_t tensor : node.tensors) {
        for (const std::string& weight : graph->report().tensors[tensor].weights) {
            // Norms and biases stay as they are in every technique.
            if (graph->report().tensors[tensor].shape.size() > 1) {
                weights << QString::fromStdString(weight);
            }
        }
    }
    delete m_menu;
    m_menu = new QMenu(this);
    m_menu->addSection(node.title);
    if (node.tensors.size() == 1) {
        const QString name =
            QString::fromStdString(graph->report().tensors[node.tensors.front()].name);
        m_menu->addAction(tr("Show its values"), this, [this, name] { chooseTensor(name); });
        chooseTensor(name);
    } else {
        m_menu->addAction(
            graph->isOpen(node.layer) ? tr("Fold") : tr("Unfold"), this,
            [graph, layer = node.layer] { graph->setOpen(layer, !graph->isOpen(layer)); });
    }
    if (!weights.isEmpty()) {
        QMenu* pin = m_menu->addMenu(tr("Pin the scheme"));
        for (const TechniqueDescriptor& technique : m_jobs->engine()->techniques()) {
            for (const ParameterSchema& parameter : technique.parameters) {
                if (technique.id != "ptq" || parameter.name != "scheme") {
                    continue;
                }
                for (const ParameterChoice& choice : parameter.choices) {
                    const QString scheme = QString::fromStdString(choice.value);
                    pin->addAction(QStringLiteral("%1 · %2").arg(scheme, engineText(choice.title)),
                                   this,
                                   [this, weights, scheme] { emit pinRequested(weights, scheme); });
                }
            }
        }
        pin->addAction(tr("Leave as it is"), this,
                       [this, weights] { emit pinRequested(weights, QStringLiteral("none")); });
        pin->addSeparator();
        pin->addAction(tr("No pin"), this, [this, weights] { emit pinRequested(weights, {}); });
        m_menu->addAction(tr("Leave alone in the recipe"), this,
                          [this, weights] { emit excludeRequested(weights); });
    }
    if (node.foldable) {
        const bool dropped = dropsLayer(m_recipe, node.layer);
        m_menu->addAction(
            dropped ? tr("Put this layer back") : tr("Prune: take this layer out"), this,
            [this, layer = node.layer, dropped] { emit dropRequested(layer, !dropped); });
    }
    m_menu->popup(place);
}

void ModelView::updateExclude() {
    const QModelIndex index = m_filtered->mapToSource(m_table->currentIndex());
    m_exclude->setEnabled(index.isValid() && !m_tensors->tensor(index.row()).weights.empty());
}

void ModelView::inspect(const QString& path) {
    m_path = path;
    m_empty->setText(tr("Reading %1…").arg(path));
    m_jobs->ask(
        InspectRequest{path.toStdString()}, this,
        [this, path](const JobResult& result) {
            const auto* report = std::get_if<ModelReport>(&result);
            if (report && path == m_path) {
                showReport(*report);
            }
        },
        [this](const ErrorInfo& error) {
            m_empty->setText(QString::fromStdString(error.message));
            m_stack->setCurrentIndex(0);
            emit errorOccurred(tr("Inspect"), QString::fromStdString(error.message));
        });
}

void ModelView::showReport(const ModelReport& report) {
    m_title->setText(QString::fromStdString(report.name));
    m_subtitle->setText(m_path);  // "demo" for the bundled model, wherever that lies
    m_subtitle->setToolTip(QString::fromStdString(report.path));
    QStringList warnings;
    for (const std::string& warning : report.warnings) {
        warnings << QString::fromStdString(warning);
    }
    m_warnings->setText(warnings.join(QLatin1Char('\n')));
    m_warnings->setVisible(!warnings.isEmpty());

    while (QLayoutItem* item = m_facts->takeAt(0)) {
        item->widget()->deleteLater();
        delete item;
    }
    const QLocale locale;
    const auto number = [&](std::int64_t value) {
        return locale.toString(static_cast<qlonglong>(value));
    };
    const auto bytes = [](std::uint64_t value) {
        return QString::fromStdString(formatBytes(static_cast<double>(value)));
    };
    const std::vector<std::pair<QString, QString>> facts = {
        {tr("Architecture"), QString::fromStdString(report.architecture)},
        {tr("Parameters"), number(static_cast<std::int64_t>(report.parameters))},
        {tr("Layers"), number(report.layers)},
        {tr("Hidden, feed-forward"),
         tr("%1, %2").arg(number(report.hiddenSize), number(report.feedForwardSize))},
        {tr("Heads, KV heads"),
         tr("%1, %2 of %3")
             .arg(number(report.heads), number(report.kvHeads), number(report.headDim))},
        {tr("Vocabulary"), number(report.vocabularySize)},
        {tr("Context"), tr("%1 tokens").arg(number(report.contextLength))},
        {tr("Weights"),
         tr("%1 · %2").arg(
             bytes(report.weightBytes),
             QString::fromStdString(report.scheme.empty() ? report.dtype : report.scheme))},
        {tr("Bits per weight"), QString::number(report.bitsPerWeight, 'f', 2)},
        {tr("KV cache"), tr("%1 per token").arg(bytes(report.kvBytesPerToken))},
        {tr("File"),
         tr("%1 · %2").arg(bytes(report.fileBytes), QString::fromStdString(report.format))},
        {tr("Tokenizer"), QString::fromStdString(report.tokenizer)},
    };
    constexpr int kColumns = 6;
    for (std::size_t i = 0; i < facts.size(); ++i) {
        auto* tile = new QFrame(this);
        setStyleClass(tile, "card");
        auto* column = new QVBoxLayout(tile);
        column->setContentsMargins(10, 6, 10, 6);
        column->setSpacing(0);
        column->addWidget(makeLabel(facts[i].first, TextRole::Caption, tile));
        auto* value = new ElidedLabel(facts[i].second, tile);
        column->addWidget(value);
        const int at = static_cast<int>(i);
        m_facts->addWidget(tile, at / kColumns, at % kColumns);
        m_facts->setColumnStretch(at % kColumns, 1);
    }
    m_tensors->setTensors(report.tensors);
    m_layers->setReport(report, m_path);
    m_table->resizeColumnsToContents();
    updateCount();
    m_stack->setCurrentIndex(1);
    m_histogram->setMessage(tr("Choose a tensor to see how its values are spread."));
    if (m_filtered->rowCount() > 0) {
        m_table->selectRow(0);
    }
}

void ModelView::updateCount() {
    m_count->setText(tr("%1 of %2 tensors").arg(m_filtered->rowCount()).arg(m_tensors->rowCount()));
}

void ModelView::askHistogram() {
    const QModelIndex index = m_filtered->mapToSource(m_table->currentIndex());
    if (!index.isValid()) {
        return;
    }
    if (m_histogramJob != 0) {
        m_jobs->engine()->cancel(m_histogramJob);
    }
    const std::string tensor = m_tensors->tensor(index.row()).name;
    if (!m_histogram->hasHistogram()) {
        m_histogram->setMessage(tr("Reading %1…").arg(QString::fromStdString(tensor)));
    }
    m_histogramJob = m_jobs->ask(
        HistogramRequest{m_path.toStdString(), tensor, 128}, this,
        [this](const JobResult& result) {
            m_histogramJob = 0;
            if (const auto* histogram = std::get_if<TensorHistogram>(&result)) {
                m_histogram->setHistogram(*histogram);
            }
        },
        [this](const ErrorInfo& error) {
            m_histogramJob = 0;
            m_histogram->setMessage(QString::fromStdString(error.message));
        });
}

}  // namespace fettle::ui
