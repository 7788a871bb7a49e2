// What techniques that train have in common: a teacher whose predictions are kept on disk, and
// parameters beyond those of the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/distill/teacher_cache.h"
#include "engine/technique/technique.h"
#include "engine/train/trainer.h"

namespace fettle {

/// attention_weight, teacher_cache and teacher_top.
std::vector<ParameterSchema> teacherParameters();

/// checkpoint_minutes: how often a training step writes what it needs to go on after it was killed.
ParameterSchema checkpointMinutesParameter();

/// compute: the type of matrix products, f32 or bf16.
ParameterSchema computeParameter();
bool computesInBf16(const nlohmann::json& params);

/// The cache of `teacher`'s predictions, holding what a run with `options` reads of `data`. Null
/// where the parameters do not ask for one, and, with a warning, where it would be of no use: the
/// loss needs the teacher's states, or there is no folder to keep it in. `network()` makes the
/// teacher; it is not asked for where everything is known already, and
/// runs where `place` says.
std::unique_ptr<TeacherCache> cachedTeacher(const std::string& technique, const Model& teacher,
                                            const TrainerOptions& options, BatchSource& data,
                                            const std::function<Network&()>& network,
                                            const TrainPlace& place, TechniqueContext& context);

/// Adds what a cache takes on disk, and takes off the seconds that it saves. `teacherSeconds`: what
/// running the teacher over all tokens takes, as contained in the estimate.
void estimateTeacherCache(StepEstimate& estimate, const nlohmann::json& params,
                          const RunInputs& inputs, std::int64_t vocabulary, double teacherSeconds);

}  // namespace fettle
