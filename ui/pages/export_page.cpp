#include "ui/pages/export_page.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDesktopServices>
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>
#include <QGridLayout>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QProgressBar>
#include <QPushButton>
#include <QRegularExpression>
#include <QScrollArea>
#include <QSignalBlocker>
#include <QToolButton>
#include <QUrl>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/bridge/engine_text.h"
#include "ui/bridge/job_controller.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/library_choice.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

constexpr int kExperimentRole = Qt::UserRole + 1;

QString joined(const std::vector<std::string>& list) {
    QStringList texts;
    for (const std::string& text : list) {
        texts << QString::fromStdString(text);
    }
    return texts.join(QStringLiteral(", "));
}

QString fileStem(const QString& name) {
    static const QRegularExpression odd(QStringLiteral("[^A-Za-z0-9._-]+"));
    QString stem = QString(name).replace(odd, QStringLiteral("-"));
    while (stem.endsWith(QLatin1Char('-'))) {
        stem.chop(1);
    }
    return stem.isEmpty() ? QStringLiteral("model") : stem;
}

}  // namespace

ExportPage::ExportPage(JobController* jobs, QWidget* parent) : QWidget(parent), m_jobs(jobs) {
    auto* row = new QHBoxLayout(this);
    row->setContentsMargins(kGapWide, kGapWide, kGapWide, kGapWide);
    row->setSpacing(kGapWide);
    row->addWidget(buildForm(), 3);
    row->addWidget(buildSide(), 2);
    for (const ExportFormatInfo& format : exportFormats()) {
        auto* item = new QListWidgetItem(engineText(format.title), m_formats);
        item->setData(Qt::UserRole, QString::fromStdString(format.id));
        item->setToolTip(engineText(format.help));
        item->setSizeHint(QSize(0, fontMetrics().height() + 12));
    }
    connect(m_formats, &QListWidget::currentRowChanged, this, &ExportPage::showFormat);
    connect(m_source, &QComboBox::currentIndexChanged, this, [this] {
        proposeDestination();
        updateButton();
    });
    connect(jobs->engine(), &EngineBridge::jobEvent, this, &ExportPage::follow);
    connect(jobs->experiments(), &ExperimentService::experimentChanged, this, &ExportPage::reload);
    connect(jobs->experiments(), &ExperimentService::experimentsReset, this, &ExportPage::reload);
    connect(jobs->experiments(), &ExperimentService::experimentsRemoved, this, &ExportPage::reload);
    connect(jobs->experiments(), &ExperimentService::libraryChanged, this, &ExportPage::reload);
    clearResult(
        tr("The checks of the export appear here: the file is read back, codes are compared bit by "
           "bit, and the "
           "logits of a short text must agree."));
    reload();
    m_formats->setCurrentRow(0);
}

QWidget* ExportPage::buildForm() {
    auto* card = new QFrame(this);
    setStyleClass(card, "card");
    auto* column = new QVBoxLayout(card);
    column->setContentsMargins(kGapWide, kGapWide, kGapWide, kGapWide);
    column->setSpacing(10);
    column->addWidget(makeLabel(tr("Export a model"), TextRole::Title, card));
    auto* grid = new QGridLayout;
    grid->setHorizontalSpacing(12);
    grid->setVerticalSpacing(10);
    grid->setColumnStretch(1, 1);

    m_source = new QComboBox(card);
    m_source->setAccessibleName(tr("Model to export"));
    m_source->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    m_source->setMinimumContentsLength(16);
    auto* sourceLabel = new QLabel(tr("&What"), card);
    sourceLabel->setBuddy(m_source);
    grid->addWidget(sourceLabel, 0, 0);
    grid->addWidget(m_source, 0, 1);

    m_formats = new QListWidget(card);
    m_formats->setAccessibleName(tr("Format"));
    m_formats->setFixedHeight((fontMetrics().height() + 12) *
                                  std::min<int>(6, static_cast<int>(exportFormats().size())) +
                              4);
    auto* formatLabel = new QLabel(tr("&Format"), card);
    formatLabel->setBuddy(m_formats);
    grid->addWidget(formatLabel, 1, 0, Qt::AlignTop);
    grid->addWidget(m_formats, 1, 1);
    m_formatHelp = makeLabel({}, TextRole::Caption, card);
    m_formatHelp->setWordWrap(true);
    m_loadedBy = makeLabel({}, TextRole::Body, card);
    m_loadedBy->setWordWrap(true);
    grid->addWidget(m_formatHelp, 2, 1);
    grid->addWidget(makeLabel(tr("Loaded by"), TextRole::Body, card), 3, 0, Qt::AlignTop);
    grid->addWidget(m_loadedBy, 3, 1);

    m_destination = new QLineEdit(card);
    m_destination->setAccessibleName(tr("Destination"));
    auto* destinationLabel = new QLabel(tr("&Destination"), card);
    destinationLabel->setBuddy(m_destination);
    auto* browseButton = new QToolButton(card);
    browseButton->setIcon(themedIcon(QStringLiteral("folder")));
    browseButton->setToolTip(tr("Choose the destination…"));
    browseButton->setAccessibleName(browseButton->toolTip());
    auto* where = new QHBoxLayout;
    where->setSpacing(4);
    where->addWidget(m_destination, 1);
    where->addWidget(browseButton);
    m_calibration = new LibraryChoice(LibraryItem::Kind::Text, tr("Calibration"), tr("none"), card);
    m_calibration->setToolTip(
        tr("With a text GPTQ chooses the codes for what the model does on it: about half the "
           "divergence at the same size. Takes as long as quantizing with GPTQ."));
    m_calibration->comboBox()->setAccessibleDescription(m_calibration->toolTip());
    m_calibrationLabel = new QLabel(tr("Ca&libration"), card);
    m_calibrationLabel->setBuddy(m_calibration);
    m_calibrationLabel->setToolTip(m_calibration->toolTip());
    grid->addWidget(m_calibrationLabel, 4, 0);
    grid->addWidget(m_calibration, 4, 1);
    grid->addWidget(destinationLabel, 5, 0);
    grid->addLayout(where, 5, 1);
    m_verify =
        new QCheckBox(tr("&Verify: read the result back and compare it with the model"), card);
    m_verify->setChecked(true);
    grid->addWidget(m_verify, 6, 1);
    column->addLayout(grid);

    m_progress = new QProgressBar(card);
    m_progress->setTextVisible(false);
    m_progress->setAccessibleName(tr("Progress of the export"));
    m_phase = makeLabel({}, TextRole::Caption, card);
    m_progress->hide();
    m_phase->hide();
    column->addWidget(m_progress);
    column->addWidget(m_phase);
    auto* buttons = new QHBoxLayout;
    m_export = new QPushButton(themedIcon(QStringLiteral("export"), IconTint::OnAccent),
                               tr("&Export"), card);
    setStyleClass(m_export, "primary");
    m_cancel = new QPushButton(tr("&Cancel"), card);
    m_cancel->hide();
    buttons->addStretch();
    buttons->addWidget(m_cancel);
    buttons->addWidget(m_export);
    column->addLayout(buttons);
    column->addStretch();

    connect(browseButton, &QToolButton::clicked, this, &ExportPage::browse);
    connect(m_destination, &QLineEdit::textEdited, this, [this] {
        m_destinationTouched = true;
        updateButton();
    });
    connect(m_export, &QPushButton::clicked, this, &ExportPage::run);
    connect(m_cancel, &QPushButton::clicked, this, [this] { m_jobs->engine()->cancel(m_job); });
    return card;
}

QWidget* ExportPage::buildSide() {
    auto* card = new QFrame(this);
    setStyleClass(card, "card");
    auto* column = new QVBoxLayout(card);
    column->setContentsMargins(kGapWide, kGapWide, kGapWide, kGapWide);
    column->setSpacing(10);
    m_resultTitle = makeLabel(tr("Checks"), TextRole::Heading, card);
    m_resultTitle->setWordWrap(true);
    column->addWidget(m_resultTitle);
    auto* content = new QWidget(card);
    setStyleClass(content, "page");
    m_checks = new QVBoxLayout(content);
    m_checks->setContentsMargins(0, 0, 0, 0);
    m_checks->setSpacing(kGap);
    auto* scroll = new QScrollArea(card);
    scroll->setWidget(content);
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    scroll->viewport()->setAutoFillBackground(false);
    column->addWidget(scroll, 1);
    m_open = new QPushButton(themedIcon(QStringLiteral("folder")), tr("&Open folder"), card);
    m_open->hide();
    connect(m_open, &QPushButton::clicked, this, &ExportPage::openFolder);
    column->addWidget(m_open, 0, Qt::AlignLeft);
    return card;
}

void ExportPage::reload() {
    const QString before = m_source->currentData().toString();
    {
        const QSignalBlocker block(m_source);
        m_source->clear();
        const ExperimentList records = m_jobs->experiments()->experiments();
        for (auto record = records.rbegin(); record != records.rend(); ++record) {
            if (record->status == ExperimentStatus::Finished && !record->artifactPath.empty()) {
                m_source->addItem(
                    themedIcon(QStringLiteral("recipe")),
                    QStringLiteral("%1 · %2").arg(QString::fromStdString(record->modelName),
                                                  QString::fromStdString(record->name)),
                    QString::fromStdString(record->artifactPath));
                m_source->setItemData(m_source->count() - 1,
                                      QVariant::fromValue<qint64>(record->id), kExperimentRole);
            }
        }
        if (m_source->count() > 0) {
            m_source->insertSeparator(m_source->count());
        }
        for (const LibraryItem& item : m_jobs->experiments()->library()) {
            if (item.kind == LibraryItem::Kind::Model && !item.missing) {
                m_source->addItem(themedIcon(QStringLiteral("model")), item.name, item.path);
            }
        }
        const int again = m_source->findData(before);
        m_source->setCurrentIndex(again >= 0 ? again : 0);
    }
    m_calibration->setItems(m_jobs->experiments()->library());
    if (m_source->currentData().toString() != before) {
        proposeDestination();
    }
    updateButton();
}

void ExportPage::chooseExperiment(qint64 id) {
    const int index = m_source->findData(QVariant::fromValue<qint64>(id), kExperimentRole);
    if (index >= 0) {
        m_source->setCurrentIndex(index);
    } else {
        emit errorOccurred(tr("Export"),
                           tr("Experiment %1 has no optimized model to export.").arg(id));
    }
}

void ExportPage::setDestination(const QString& path) {
    m_destination->setText(path);
    m_destinationTouched = true;
    updateButton();
}

void ExportPage::showFormat() {
    const auto row = static_cast<std::size_t>(std::max(0, m_formats->currentRow()));
    const ExportFormatInfo& format = exportFormats()[row];
    m_formatHelp->setText(engineText(format.help));
    m_loadedBy->setText(joined(format.loadedBy));
    m_calibration->setVisible(format.takesCalibration);
    m_calibrationLabel->setVisible(format.takesCalibration);
    if (!m_destinationTouched) {
        proposeDestination();
    }
}

void ExportPage::proposeDestination() {
    m_destinationTouched = false;
    const auto row = static_cast<std::size_t>(std::max(0, m_formats->currentRow()));
    const ExportFormatInfo& format = exportFormats()[row];
    const QString name = QStringLiteral("%1-%2").arg(fileStem(m_source->currentText()),
                                                     QString::fromStdString(format.id));
    m_destination->setText(
        QDir::home().filePath(format.isFile ? name + QStringLiteral(".gguf") : name));
    updateButton();
}

void ExportPage::browse() {
    const auto row = static_cast<std::size_t>(std::max(0, m_formats->currentRow()));
    const QString path =
        exportFormats()[row].isFile
            ? QFileDialog::getSaveFileName(this, tr("Export to"), m_destination->text(),
                                           tr("GGUF (*.gguf)"))
            : QFileDialog::getExistingDirectory(this, tr("Export into folder"),
                                                QFileInfo(m_destination->text()).path());
    if (!path.isEmpty()) {
        setDestination(path);
    }
}

void ExportPage::updateButton() {
    const bool ready = m_job == 0 && !m_source->currentData().toString().isEmpty() &&
                       !m_destination->text().trimmed().isEmpty();
    m_export->setEnabled(ready);
    m_export->setToolTip(ready        ? QString()
                         : m_job != 0 ? tr("An export is running.")
                                      : tr("Choose what to export and where to."));
}

void ExportPage::run() {
    ExportRequest request;
    request.modelPath = m_source->currentData().toString().toStdString();
    request.format = m_formats->currentItem()->data(Qt::UserRole).toString().toStdString();
    request.outPath = m_destination->text().trimmed().toStdString();
    request.verify = m_verify->isChecked();
    if (exportFormats()[static_cast<std::size_t>(m_formats->currentRow())].takesCalibration) {
        request.calibration = m_calibration->path().toStdString();
    }
    clearResult(tr("Writing %1…").arg(m_destination->text()));
    m_progress->setRange(0, 0);
    m_progress->show();
    m_phase->show();
    m_cancel->show();
    m_job = m_jobs->queue(
        request,
        tr("Export %1 as %2").arg(m_source->currentText(), QString::fromStdString(request.format)),
        this,
        [this](const JobResult& result) {
            if (const auto* report = std::get_if<ExportReport>(&result)) {
                showReport(*report);
            }
        },
        [this](const ErrorInfo& error) {
            clearResult(QString::fromStdString(error.message));
            emit errorOccurred(tr("Export"), QString::fromStdString(error.message));
        });
    updateButton();
}

void ExportPage::follow(const JobEvent& event) {
    if (event.job != m_job || m_job == 0) {
        return;
    }
    if (const auto* progress = std::get_if<JobProgress>(&event.body)) {
        m_progress->setRange(0, progress->fraction >= 0 ? 1000 : 0);
        m_progress->setValue(static_cast<int>(progress->fraction * 1000));
        m_phase->setText(QString::fromStdString(progress->phase));
        return;
    }
    const bool cancelled = std::holds_alternative<JobCancelled>(event.body);
    if (cancelled || std::holds_alternative<JobFinished>(event.body) ||
        std::holds_alternative<JobFailed>(event.body)) {
        if (cancelled) {
            clearResult(tr("Cancelled. Nothing was kept at the destination."));
        }
        m_job = 0;
        m_progress->hide();
        m_phase->hide();
        m_cancel->hide();
        updateButton();
    }
}

void ExportPage::clearResult(const QString& text) {
    while (QLayoutItem* item = m_checks->takeAt(0)) {
        delete item->widget();
        delete item;
    }
    m_resultTitle->setText(tr("Checks"));
    setStyleClass(m_resultTitle, "");
    m_open->hide();
    QLabel* label = makeLabel(text, TextRole::Caption);
    label->setWordWrap(true);
    m_checks->addWidget(label);
    m_checks->addStretch();
}

void ExportPage::showReport(const ExportReport& report) {
    clearResult(QStringLiteral("%1 · %2").arg(
        QString::fromStdString(report.path),
        QString::fromStdString(formatBytes(static_cast<double>(report.bytes)))));
    const bool checked = !report.checks.empty();
    m_resultTitle->setText(!checked            ? tr("Written, not verified")
                           : report.verified() ? tr("Written and verified")
                                               : tr("Written, but a check failed"));
    setStyleClass(m_resultTitle, checked ? report.verified() ? "success" : "danger" : "");
    const auto add = [this](QWidget* widget) {
        m_checks->insertWidget(m_checks->count() - 1, widget);
    };
    for (const ExportCheck& check : report.checks) {
        auto* line = new QWidget;
        auto* row = new QHBoxLayout(line);
        row->setContentsMargins(0, 0, 0, 0);
        row->setSpacing(kGap);
        auto* icon = new QLabel(line);
        icon->setPixmap(
            themedIcon(check.passed ? QStringLiteral("success") : QStringLiteral("error"),
                       check.passed ? IconTint::Success : IconTint::Danger)
                .pixmap(QSize(18, 18), devicePixelRatio()));
        auto* text = new QLabel(QStringLiteral("<b>%1</b> %2<br>%3")
                                    .arg(QString::fromStdString(check.name).toHtmlEscaped(),
                                         check.passed ? tr("passed") : tr("failed"),
                                         QString::fromStdString(check.detail).toHtmlEscaped()),
                                line);
        text->setWordWrap(true);
        text->setTextInteractionFlags(Qt::TextSelectableByMouse);
        row->addWidget(icon, 0, Qt::AlignTop);
        row->addWidget(text, 1);
        add(line);
    }
    for (const std::string& loss : report.lossy) {
        QLabel* label =
            makeLabel(tr("Not kept: %1").arg(QString::fromStdString(loss)), TextRole::Body);
        label->setWordWrap(true);
        setStyleClass(label, "warning");
        add(label);
    }
    if (!report.loadedBy.empty()) {
        QLabel* label =
            makeLabel(tr("Loaded by %1").arg(joined(report.loadedBy)), TextRole::Caption);
        label->setWordWrap(true);
        add(label);
    }
    m_open->setProperty("path", QString::fromStdString(report.path));
    m_open->show();
    emit exported(QString::fromStdString(report.path));
}

QString ExportPage::resultText() const {
    QStringList texts{m_resultTitle->text()};
    for (int i = 0; i < m_checks->count(); ++i) {
        if (QWidget* widget = m_checks->itemAt(i)->widget()) {
            if (auto* label = qobject_cast<QLabel*>(widget)) {
                texts << label->text();
            }
            for (const QLabel* label : widget->findChildren<QLabel*>()) {
                texts << label->text();
            }
        }
    }
    return texts.join(QLatin1Char('\n'));
}

void ExportPage::openFolder() {
    const QFileInfo info(m_open->property("path").toString());
    QDesktopServices::openUrl(
        QUrl::fromLocalFile(info.isDir() ? info.absoluteFilePath() : info.absolutePath()));
}

}  // namespace fettle::ui
