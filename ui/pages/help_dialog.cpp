#include "ui/pages/help_dialog.h"

#include <QAction>
#include <QDialogButtonBox>
#include <QListWidget>
#include <QSplitter>
#include <QTabWidget>
#include <QTextBrowser>
#include <QVBoxLayout>

#include "ui/bridge/engine_text.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

QString escaped(const std::string& text) {
    return QString::fromStdString(text).toHtmlEscaped();
}

QString muted(const QString& html) {
    return QStringLiteral("<span style='color:%1'>%2</span>").arg(themeColors().muted.name(), html);
}

QString valueText(const nlohmann::json& value) {
    if (value.is_null()) {
        return HelpDialog::tr("not set");
    }
    if (value.is_boolean()) {
        return value.get<bool>() ? HelpDialog::tr("on") : HelpDialog::tr("off");
    }
    if (value.is_array() && value.empty()) {
        return HelpDialog::tr("none");
    }
    const QString text =
        QString::fromStdString(value.is_string() ? value.get<std::string>() : value.dump());
    return text.isEmpty() ? HelpDialog::tr("empty") : text;
}

QString rangeOf(const ParameterSchema& parameter) {
    const auto number = [](double value) { return QString::number(value, 'g', 8); };
    QString range;
    if (parameter.minimum && parameter.maximum) {
        range =
            HelpDialog::tr("%1 to %2").arg(number(*parameter.minimum), number(*parameter.maximum));
    } else if (parameter.minimum) {
        range = HelpDialog::tr("at least %1").arg(number(*parameter.minimum));
    } else if (parameter.maximum) {
        range = HelpDialog::tr("at most %1").arg(number(*parameter.maximum));
    }
    if (!parameter.unit.empty()) {
        range += (range.isEmpty() ? QString() : QStringLiteral(" ")) + engineText(parameter.unit);
    }
    return range;
}

QString parameterHtml(const ParameterSchema& parameter) {
    QString html =
        QStringLiteral("<p style='margin:12px 0 2px 0'><b>%1</b> &nbsp;%2</p>")
            .arg(engineText(parameter.title).toHtmlEscaped(), muted(escaped(parameter.name)));
    if (!parameter.help.empty()) {
        html += QStringLiteral("<p style='margin:0'>%1</p>")
                    .arg(engineText(parameter.help).toHtmlEscaped());
    }
    QStringList facts{HelpDialog::tr("default: %1").arg(valueText(parameter.defaultValue))};
    if (const QString range = rangeOf(parameter); !range.isEmpty()) {
        facts << range;
    }
    if (parameter.visibleWhen) {
        QStringList values;
        for (const std::string& value : parameter.visibleWhen->values) {
            values << QString::fromStdString(value);
        }
        facts << HelpDialog::tr("only with %1 = %2")
                     .arg(QString::fromStdString(parameter.visibleWhen->param),
                          values.join(HelpDialog::tr(" or ")));
    }
    html += QStringLiteral("<p style='margin:0'>%1</p>")
                .arg(muted(facts.join(QStringLiteral(" · ")).toHtmlEscaped()));
    if (!parameter.choices.empty()) {
        html += QStringLiteral("<table cellpadding='3' style='margin-left:12px'>");
        for (const ParameterChoice& choice : parameter.choices) {
            html += QStringLiteral("<tr><td><b>%1</b></td><td>%2%3</td></tr>")
                        .arg(escaped(choice.value), engineText(choice.title).toHtmlEscaped(),
                             choice.help.empty()
                                 ? QString()
                                 : u' ' + muted(engineText(choice.help).toHtmlEscaped()));
        }
        html += QStringLiteral("</table>");
    }
    return html;
}

QTextBrowser* makeBrowser(const QString& name) {
    auto* browser = new QTextBrowser;
    browser->setAccessibleName(name);
    browser->setOpenLinks(false);
    browser->document()->setDocumentMargin(14);
    setStyleClass(browser, "bare");
    return browser;
}

}  // namespace

QString shortcutsHtml(const std::vector<ListedAction>& actions,
                      const std::vector<const QWidget*>& parts) {
    QString html;
    QString place;
    for (const ListedAction& listed : actions) {
        const QString keys = actionKeys(*listed.action);
        if (keys.isEmpty()) {
            continue;
        }
        if (listed.place != place) {
            html += (place.isEmpty() ? QString() : QStringLiteral("</table>")) +
                    QStringLiteral(
                        "<p style='margin:14px 0 4px 0'><b>%1</b></p>"
                        "<table width='100%' cellpadding='4'>")
                        .arg(listed.place.toHtmlEscaped());
            place = listed.place;
        }
        html += QStringLiteral("<tr><td width='65%'>%1</td><td><b>%2</b></td></tr>")
                    .arg(actionTitle(*listed.action).toHtmlEscaped(), keys.toHtmlEscaped());
    }
    html += place.isEmpty() ? QString() : QStringLiteral("</table>");
    for (const QWidget* part : parts) {
        html +=
            QStringLiteral("<p style='margin:14px 0 4px 0'><b>%1</b></p><p style='margin:0'>%2</p>")
                .arg(part->accessibleName().toHtmlEscaped(),
                     part->accessibleDescription().toHtmlEscaped());
    }
    return html;
}

QString techniqueHtml(const TechniqueDescriptor& technique) {
    QString html =
        QStringLiteral("<h3 style='margin:0'>%1 &nbsp;%2</h3><p>%3</p>")
            .arg(engineText(technique.title).toHtmlEscaped(), muted(escaped(technique.id)),
                 engineText(technique.help).toHtmlEscaped());
    QStringList needs;
    if (technique.usesCalibration) {
        needs << HelpDialog::tr("uses a calibration text");
    }
    if (technique.needsTrainingText) {
        needs << HelpDialog::tr("needs a training text");
    }
    if (technique.needsTeacher) {
        needs << HelpDialog::tr("needs a teacher (the recipe's own model unless another is named)");
    }
    if (!needs.isEmpty()) {
        html += QStringLiteral("<p>%1</p>")
                    .arg(muted(needs.join(QStringLiteral("; ")).toHtmlEscaped()));
    }
    for (const ParameterSchema& parameter : technique.parameters) {
        html += parameterHtml(parameter);
    }
    return html;
}

HelpDialog::HelpDialog(const QString& shortcuts, const std::vector<TechniqueDescriptor>& techniques,
                       QWidget* parent)
    : QDialog(parent),
      m_techniques(techniques),
      m_tabs(new QTabWidget(this)),
      m_keys(makeBrowser(tr("Keyboard shortcuts"))),
      m_list(new QListWidget),
      m_technique(makeBrowser(tr("About the technique"))) {
    setObjectName(QStringLiteral("helpDialog"));
    setWindowTitle(tr("Help"));
    resize(780, 600);
    auto* column = new QVBoxLayout(this);
    column->addWidget(m_tabs, 1);
    m_tabs->setDocumentMode(true);
    m_keys->setHtml(shortcuts);
    m_tabs->addTab(m_keys, tr("&Keyboard"));
    auto* split = new QSplitter(Qt::Horizontal);
    split->addWidget(m_list);
    split->addWidget(m_technique);
    split->setStretchFactor(1, 1);
    split->setSizes({190, 590});
    split->setChildrenCollapsible(false);
    m_tabs->addTab(split, tr("&Techniques"));
    m_list->setAccessibleName(tr("Techniques"));
    for (const TechniqueDescriptor& technique : m_techniques) {
        m_list->addItem(engineText(technique.title));
    }
    connect(m_list, &QListWidget::currentRowChanged, this, [this](int row) {
        if (row >= 0) {
            m_technique->setHtml(techniqueHtml(m_techniques[static_cast<std::size_t>(row)]));
        }
    });
    m_list->setCurrentRow(0);
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Close, this);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    column->addWidget(buttons);
}

void HelpDialog::showAt(const QString& technique) {
    m_tabs->setCurrentIndex(technique.isEmpty() ? 0 : 1);
    for (std::size_t i = 0; i < m_techniques.size(); ++i) {
        if (QString::fromStdString(m_techniques[i].id) == technique) {
            m_list->setCurrentRow(static_cast<int>(i));
        }
    }
    show();
    raise();
    activateWindow();
}

QString HelpDialog::text() const {
    return m_tabs->currentIndex() == 0 ? m_keys->toPlainText() : m_technique->toPlainText();
}

}  // namespace fettle::ui
