// The one door between the window and the engine thread. Values go in, values come out as queued
// signals; every method may be called on the GUI thread and returns at once.
#pragma once

#include <QMetaType>
#include <QObject>
#include <QStringList>
#include <vector>

#include "engine/experiment/job_values.h"
#include "engine/experiment/technique_schema.h"

namespace fettle::ui {

/// The device the engine runs on, for the status bar and for charts.
struct DeviceInfo {
    QString id;    ///< "cpu", "cuda:0"
    QString name;  ///< "AMD EPYC 9R45, 2 threads"
    QString isa;   ///< "AVX-512 VNNI"
    quint64 memoryBytes = 0;
    bool usable = true;
    QString reason;  ///< why not usable
};

class EngineBridge : public QObject {
    Q_OBJECT

public:
    using QObject::QObject;

    virtual JobId post(JobRequest request) = 0;
    virtual void cancel(JobId job) = 0;
    virtual void pause(JobId job) = 0;
    virtual void resume(JobId job) = 0;
    /// Ends what the job trains now and goes on with the best so far (JobProgress::finishable).
    virtual void finishEarly(JobId job) = 0;
    /// Technique descriptors, in the order in which users climb them.
    virtual const std::vector<TechniqueDescriptor>& techniques() const = 0;
    virtual std::vector<DeviceInfo> devices() const = 0;
    /// Whether the processor multiplies bfloat16.
    virtual bool hasBfloat16() const = 0;
    /// Whether weights in bfloat16 are multiplied in it by what is posted from now on, activations
    /// rounded; at first they are not.
    virtual void useBfloat16(bool use) = 0;

signals:
    /// Every event of every job, on the GUI thread, in the order in which they happened.
    void jobEvent(const fettle::JobEvent& event);
};

}  // namespace fettle::ui

Q_DECLARE_METATYPE(fettle::JobEvent)
