// Line icons of resources/icons, drawn in the colours of the theme at any scale. GUI thread only.
#pragma once

#include <QIcon>
#include <QString>

namespace fettle::ui {

enum class IconTint { Text, Muted, Accent, OnAccent, Success, Warning, Danger };

/// The icon resources/icons/<name>.svg. It follows the theme: no need to set it again after a
/// switch.
QIcon themedIcon(const QString& name, IconTint tint = IconTint::Text);

}  // namespace fettle::ui
