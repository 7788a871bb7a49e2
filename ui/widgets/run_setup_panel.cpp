#include "ui/widgets/run_setup_panel.h"

#include <QCheckBox>
#include <QComboBox>
#include <QGridLayout>
#include <QLabel>
#include <QSpinBox>
#include <QVBoxLayout>

#include "ui/widgets/library_choice.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

using Kind = LibraryItem::Kind;

static QGridLayout* addGrid(QVBoxLayout* column) {
    auto* grid = new QGridLayout;
    grid->setHorizontalSpacing(kGap);
    grid->setVerticalSpacing(6);
    grid->setColumnMinimumWidth(0, 96);
    grid->setColumnStretch(1, 1);
    column->addLayout(grid);
    return grid;
}

RunSetupPanel::RunSetupPanel(QWidget* parent) : QFrame(parent) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(13, 6, 13, 6);
    column->setSpacing(kGap);
    column->addWidget(makeLabel(tr("Model and data"), TextRole::Heading, this));
    QGridLayout* grid = addGrid(column);
    m_model = addChoice(grid, 0, Kind::Model, tr("&Model"), {},
                        tr("The model that the recipe is applied to."));
    m_evaluate = addChoice(grid, 1, Kind::Text, tr("&Evaluation text"), tr("none"),
                           tr("Perplexity and divergence are measured on this text. Use one that "
                              "the recipe never sees."));
    m_tasks =
        addChoice(grid, 2, Kind::Tasks, tr("Tas&ks"), tr("none"),
                  tr("Multiple-choice tasks, one JSON object per line: prompt, choices, answer."));
    m_calibration = addChoice(grid, 3, Kind::Text, tr("Cali&bration"), tr("none"),
                              tr("Text whose activations decide scales and importance."));
    m_train = addChoice(grid, 4, Kind::Text, tr("&Training text"), tr("none"),
                        tr("Text that training steps learn from."));
    m_teacher = addChoice(grid, 5, Kind::Model, tr("Teac&her"), tr("the model itself, unchanged"),
                          tr("The model whose answers are learnt."));
    auto* line = new QFrame(this);
    setStyleClass(line, "line");
    column->addWidget(line);
    column->addWidget(makeLabel(tr("Measuring"), TextRole::Heading, this));
    buildMeasuring(addGrid(column));
    column->addStretch();

    connect(m_model, &LibraryChoice::pathChanged, this, [this](const QString& path) {
        applyModelDefaults();
        emit modelChanged(path);
        emit changed();
    });
    for (LibraryChoice* choice : {m_evaluate, m_tasks, m_calibration, m_train, m_teacher}) {
        connect(choice, &LibraryChoice::pathChanged, this, &RunSetupPanel::changed);
    }
    for (LibraryChoice* choice :
         {m_model, m_evaluate, m_tasks, m_calibration, m_train, m_teacher}) {
        connect(choice, &LibraryChoice::fileChosen, this, &RunSetupPanel::fileChosen);
    }
    setNeeds(false, false, false);
}

LibraryChoice* RunSetupPanel::addChoice(QGridLayout* grid, int row, Kind kind, const QString& title,
                                        const QString& emptyText, const QString& help) {
    auto* choice =
        new LibraryChoice(kind, QString(title).remove(QLatin1Char('&')), emptyText, this);
    choice->setToolTip(help);
    choice->comboBox()->setAccessibleDescription(help);
    auto* label = new QLabel(title, this);
    label->setBuddy(choice);
    label->setToolTip(help);
    grid->addWidget(label, row, 0);
    grid->addWidget(choice, row, 1);
    choice->setProperty("rowLabel", QVariant::fromValue<QObject*>(label));
    return choice;
}

QSpinBox* RunSetupPanel::addNumber(QGridLayout* grid, int row, const QString& title, int low,
                                   int high, int value, const QString& help) {
    auto* box = new QSpinBox(this);
    box->setRange(low, high);
    box->setValue(value);
    box->setGroupSeparatorShown(true);
    box->setStepType(QAbstractSpinBox::AdaptiveDecimalStepType);
    box->setKeyboardTracking(false);
    box->setFocusPolicy(Qt::StrongFocus);
    box->setToolTip(help);
    box->setAccessibleName(QString(title).remove(QLatin1Char('&')));
    box->setAccessibleDescription(help);
    auto* label = new QLabel(title, this);
    label->setBuddy(box);
    label->setToolTip(help);
    grid->addWidget(label, row, 0);
    grid->addWidget(box, row, 1);
    box->setProperty("rowLabel", QVariant::fromValue<QObject*>(label));
    connect(box, &QSpinBox::valueChanged, this, &RunSetupPanel::changed);
    return box;
}

void RunSetupPanel::buildMeasuring(QGridLayout* grid) {
    const MeasureOptions defaults;
    m_protocol = new QComboBox(this);
    m_protocol->addItem(tr("All tokens but the first"),
                        static_cast<int>(PerplexityProtocol::Plain));
    m_protocol->addItem(tr("Second half (llama.cpp)"),
                        static_cast<int>(PerplexityProtocol::LlamaCpp));
    m_protocol->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    m_protocol->setMinimumContentsLength(10);
    m_protocol->setAccessibleName(tr("Scored tokens"));
    m_protocol->setToolTip(
        tr("Which tokens of a window count. Numbers of different protocols are never compared."));
    auto* label = new QLabel(tr("Sco&red tokens"), this);
    label->setBuddy(m_protocol);
    grid->addWidget(label, 0, 0);
    grid->addWidget(m_protocol, 0, 1);
    m_context = addNumber(grid, 1, tr("&Window"), 16, 1 << 20, defaults.context,
                          tr("Tokens of one evaluation window."));
    m_context->setSuffix(tr(" tokens"));
    m_maxTokens =
        addNumber(grid, 2, tr("At m&ost"), 0, 2'000'000'000, static_cast<int>(defaults.maxTokens),
                  tr("Tokens of the evaluation text that are read; 0 reads all of it."));
    m_maxTokens->setSuffix(tr(" tokens"));
    m_maxTokens->setSpecialValueText(tr("the whole text"));
    m_speed = new QCheckBox(tr("Measure s&peed and memory"), this);
    m_speed->setChecked(defaults.speed);
    m_speed->setToolTip(tr("Time to first token, prefill and decode speed, peak memory."));
    grid->addWidget(m_speed, 3, 0, 1, 2);
    m_promptTokens = addNumber(grid, 4, tr("Prompt"), 1, 1 << 20, defaults.promptTokens,
                               tr("Tokens of the prompt."));
    m_promptTokens->setSuffix(tr(" tokens"));
    m_newTokens = addNumber(grid, 5, tr("Generate"), 1, 1 << 16, defaults.newTokens,
                            tr("Tokens generated after the prompt."));
    m_newTokens->setSuffix(tr(" tokens"));
    m_repeats = addNumber(grid, 6, tr("Repeats"), 1, 1000, defaults.repeats,
                          tr("The median of so many repeats is kept."));
    connect(m_protocol, &QComboBox::currentIndexChanged, this, &RunSetupPanel::changed);
    connect(m_speed, &QCheckBox::toggled, this, [this](bool on) {
        for (QSpinBox* box : {m_promptTokens, m_newTokens, m_repeats}) {
            showRow(box, on);
        }
        emit changed();
    });
}

void RunSetupPanel::showRow(QWidget* editor, bool visible) {
    editor->setVisible(visible);
    if (auto* label = qobject_cast<QWidget*>(editor->property("rowLabel").value<QObject*>())) {
        label->setVisible(visible);
    }
}

void RunSetupPanel::setLibrary(const std::vector<LibraryItem>& items) {
    m_items = items;
    for (LibraryChoice* choice :
         {m_model, m_evaluate, m_tasks, m_calibration, m_train, m_teacher}) {
        choice->setItems(items);
    }
}

// The demo model brings its own data. Another model gets the first text that the user added, so
// that a run never measures on nothing without being told to.
void RunSetupPanel::applyModelDefaults() {
    const bool bundled = m_model->isBundled();
    const QString own = tr("the demo's own");
    for (LibraryChoice* choice : {m_evaluate, m_tasks, m_calibration, m_train}) {
        choice->setEmptyText(bundled ? own : tr("none"));
    }
    if (bundled || !m_evaluate->path().isEmpty()) {
        return;
    }
    for (const LibraryItem& item : m_items) {
        if (item.kind == Kind::Text && !item.missing && !item.bundled) {
            m_evaluate->setPath(item.path);
            break;
        }
    }
}

void RunSetupPanel::setNeeds(bool calibration, bool training, bool teacher) {
    showRow(m_calibration, calibration);
    showRow(m_train, training);
    showRow(m_teacher, teacher);
}

QString RunSetupPanel::modelPath() const {
    return m_model->path();
}
QString RunSetupPanel::modelName() const {
    return m_model->name();
}
void RunSetupPanel::setModelPath(const QString& path) {
    m_model->setPath(path);
}
void RunSetupPanel::setTasksPath(const QString& path) {
    m_tasks->setPath(path);
}

RunInputs RunSetupPanel::inputs() const {
    RunInputs inputs;
    inputs.evaluate = m_evaluate->path().toStdString();
    inputs.tasks = m_tasks->path().toStdString();
    inputs.calibration = m_calibration->path().toStdString();
    inputs.train = m_train->path().toStdString();
    inputs.teacher = m_teacher->path().toStdString();
    return inputs;
}

MeasureOptions RunSetupPanel::measure() const {
    MeasureOptions options;
    options.context = m_context->value();
    options.maxTokens = m_maxTokens->value();
    options.protocol = static_cast<PerplexityProtocol>(m_protocol->currentData().toInt());
    options.speed = m_speed->isChecked();
    options.promptTokens = m_promptTokens->value();
    options.newTokens = m_newTokens->value();
    options.repeats = m_repeats->value();
    return options;
}

void RunSetupPanel::setMeasure(const MeasureOptions& options) {
    m_context->setValue(options.context);
    m_maxTokens->setValue(static_cast<int>(options.maxTokens));
    m_protocol->setCurrentIndex(m_protocol->findData(static_cast<int>(options.protocol)));
    m_speed->setChecked(options.speed);
    m_promptTokens->setValue(options.promptTokens);
    m_newTokens->setValue(options.newTokens);
    m_repeats->setValue(options.repeats);
}

RunRequest RunSetupPanel::request() const {
    RunRequest request;
    request.modelPath = modelPath().toStdString();
    request.inputs = inputs();
    request.measure = measure();
    return request;
}

QString RunSetupPanel::problem() const {
    if (modelPath().isEmpty()) {
        return tr("Choose a model first.");
    }
    if (m_model->isBundled()) {
        return {};
    }
    if (m_evaluate->path().isEmpty() && m_tasks->path().isEmpty() && !m_speed->isChecked()) {
        return tr("Nothing would be measured: choose an evaluation text, tasks, or speed.");
    }
    return {};
}

}  // namespace fettle::ui
