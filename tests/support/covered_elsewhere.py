"""Modules without a test file of their name, and the file whose tests cover them."""

TABLE = """
augmentations/test_fused                augmentations: branching crop numba_draws
augmentations/test_fused                augmentations: numba_kernels
augmentations/test_golden               augmentations: planes
augmentations/test_statistics           augmentations: sampling
config/test_sections                    config: augmentation checks config data
config/test_sections                    config: distribution evaluation export loss
config/test_sections                    config: model optimizer planning training
config/test_settings                    config: modes
data/test_array_files                   data: array_labels
data/test_datasets                      data: opening prepare
data/test_file_index                    data: index_cache index_columns
data/test_image_files                   data: image_headers
data/test_layouts                       data: layout_rules side_files
data/test_manifest                      data: manifest_paths multi_label
data/test_order                         data: sources
data/test_shapes_drawing                data: shapes_builder shapes_fields shapes_scene
data/test_stored_images                 data: dicom_files npy_files pnm_files unreadable
data/test_stored_images                 data: wide_tiff_files
distribution/test_strategies            distribution: multi_worker
evaluation/features/test_depths         evaluation/protocols: depths
evaluation/protocols/test_linear        evaluation/solvers: sgd_heads
evaluation/protocols/test_logistic_sweep  evaluation/solvers: lbfgs penalty_sweep
evaluation/protocols/test_low_shot      evaluation/solvers: low_shot_svm
evaluation/protocols/test_svm           evaluation/solvers: linear_svm one_vs_rest
evaluation/test_held_out_loss           evaluation: valid_loss
evaluation/test_probes                  evaluation: pca scoring
evaluation/test_probes                  evaluation/protocols: logistic
evaluation/test_result_table            evaluation: kept_results measured once rows
evaluation/test_result_table            results: table
evaluation/transfer/test_linear         data: transfer_sets
evaluation/transfer/test_linear         evaluation/solvers: binary_lbfgs
evaluation/transfer/test_linear         results: transfer_table
exports/test_formats                    exports: encoded_images hub keras_file
losses/test_blockwise                   losses: bands
losses/test_logistic_and_margin         losses: candidates margin nt_logistic
models/test_fused_batch_norm            models: layers
models/test_resnet                      models: residual_blocks selective_kernel
models/test_resnet                      models: squeeze_excite
optimizers/test_weight_decay            optimizers: decoupled
planning/test_estimate                  planning: advice document image_counts table
planning/test_memory                    planning: workload
reference/test_endpoints                saved_model: endpoints
reference/test_reading                  reference: files structure weights
reference/test_reading                  training: initialization
report/test_report                      report: facts nearest_images page
report/test_report                      report: pictures run_report sections tables
report/test_report                      report: verdict
results/test_document                   results: rows
test_files                              endings
test_flags                              command_help errors
test_plots                              plots: drawing embeddings history pictures
test_plots                              plots: preview scores
test_plots                              runs: tensorboard_pictures
test_recipe_files                       command_line: recipe_files
test_wheel                              __main__
training/test_mixed_precision           optimizers: loss_scale
training/test_semi_recipe               results: semi_table
workflows/test_best_checkpoint          evaluation: best_metric
workflows/test_best_checkpoint          results: curve
workflows/test_best_checkpoint          runs: best_checkpoint
workflows/test_comparison               data: identity
workflows/test_comparison               results: comparison other_runs predictions
workflows/test_embed_endpoints          workflows: embed_outputs reading
workflows/test_eval_data                evaluation: runner
workflows/test_eval_data                runs: eval_settings restoring
workflows/test_eval_honesty             training: splits
workflows/test_eval_honesty             workflows: evaluate
workflows/test_features_protocol        evaluation: classifier stage_features
workflows/test_finetune_rates           training: labelled optimizer
workflows/test_finetune_settings        training: finetune_settings
workflows/test_fitted                   training: fitted
workflows/test_fitted                   workflows: scan
workflows/test_following                runs: following
workflows/test_input_failures           training: input_failures
workflows/test_kept_features            evaluation/features: extractor
workflows/test_label_free_runs          evaluation: pairs_of_views
workflows/test_label_free_runs          results: label_free_table
workflows/test_own_images               runs: images
workflows/test_pixels                   runs: pixels
workflows/test_precision                training: precision
workflows/test_predict                  exports: labels_file
workflows/test_predict                  workflows: classifiers
workflows/test_pretrain                 runs: timing
workflows/test_pretrain                 workflows: export
workflows/test_representations          evaluation: baselines inputs provenance
workflows/test_representations          evaluation: representations subject
workflows/test_semi                     evaluation: semi_supervised
workflows/test_small_folders            training: length session
workflows/test_stop_and_go_on           runs: logs
workflows/test_training_end             evaluation: finetuning
workflows/test_training_end             training: chance supervised
workflows/test_transfer                 data: transfer_splits
workflows/test_transfer                 evaluation/transfer: protocol
workflows/test_transfer_finetune        evaluation/transfer: finetune network
workflows/test_watching_samples         evaluation: monitoring
"""


def by_module() -> dict[str, str]:
    """Module ("data/records") -> test file ("data/test_record_files")."""
    found: dict[str, str] = {}
    for line in TABLE.split("\n")[1:-1]:
        file, _, rest = line.partition(" ")
        room, colon, names = rest.rpartition(":")
        for name in names.split():
            module = f"{room.strip()}/{name}" if colon else name
            assert module not in found, f"{module} stands there twice"
            found[module] = file
    return found
